package nstest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// PingOptions are the options of an echo request. The zero value is an ordinary request.
type PingOptions struct {
	TTL          int  // hop limit; 64 if 0
	Size         int  // bytes of payload
	DontFragment bool // also ignores a known path MTU
}

// PingResult is the first answer to an echo request: a reply or an ICMP error.
type PingResult struct {
	RTT        time.Duration
	From       netip.Addr // source of the answer
	Type, Code uint8
	MTU        int // MTU in "fragmentation needed" and "packet too big"
}

// Reply reports whether the answer is an echo reply and not an ICMP error.
func (r PingResult) Reply() bool {
	if r.From.Is4() {
		return r.Type == icmpEchoReply
	}
	return r.Type == icmp6EchoReply
}

// TimeExceeded reports whether a router found the hop limit exhausted.
func (r PingResult) TimeExceeded() bool {
	if r.From.Is4() {
		return r.Type == icmpTimeExceeded
	}
	return r.Type == icmp6TimeExceeded
}

// TooBig reports whether a router found the packet larger than MTU.
func (r PingResult) TooBig() bool {
	if r.From.Is4() {
		return r.Type == icmpUnreachable && r.Code == icmpFragNeeded
	}
	return r.Type == icmp6TooBig
}

// Ping sends one echo request from the namespace and waits for its answer.
func (n *NS) Ping(ctx context.Context, dst netip.Addr, o PingOptions) (PingResult, error) {
	var conn *net.IPConn
	err := n.Do(func() (err error) {
		conn, err = listenICMP(dst, o)
		return err
	})
	if err != nil {
		return PingResult{}, fmt.Errorf("ping %s: %w", dst, err)
	}
	defer shut(conn)
	defer bound(ctx, conn)()

	id := uint16(rand.Uint32())
	request := echo(icmp6Echo, id, 1, make([]byte, o.Size)) // the kernel fills in the ICMPv6 checksum
	if dst.Is4() {
		request = echo(icmpEcho, id, 1, make([]byte, o.Size))
		binary.BigEndian.PutUint16(request[2:], fold(add(0, request)))
	}
	start := time.Now()
	if _, err := conn.WriteToIP(request, &net.IPAddr{IP: dst.AsSlice(), Zone: dst.Zone()}); err != nil {
		return PingResult{}, fmt.Errorf("ping %s: %w", dst, inContext(ctx, err))
	}
	buf := make([]byte, 1<<16)
	for {
		size, from, err := conn.ReadFromIP(buf)
		if err != nil {
			return PingResult{}, fmt.Errorf("ping %s: %w", dst, inContext(ctx, err))
		}
		r, ok := pingAnswer(buf[:size], id, dst.Is6())
		if !ok {
			continue // a raw socket receives ICMP messages of all processes
		}
		a, _ := netip.AddrFromSlice(from.IP)
		r.From, r.RTT = a.Unmap(), time.Since(start)
		return r, nil
	}
}

func listenICMP(dst netip.Addr, o PingOptions) (*net.IPConn, error) {
	network, level, ttl := "ip4:icmp", unix.IPPROTO_IP, unix.IP_TTL
	discover, probe := unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
	if dst.Is6() {
		network, level, ttl = "ip6:ipv6-icmp", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
		discover, probe = unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE
	}
	conn, err := net.ListenIP(network, nil)
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		var set error
		err = raw.Control(func(fd uintptr) {
			if o.TTL != 0 {
				set = unix.SetsockoptInt(int(fd), level, ttl, o.TTL)
			}
			if o.DontFragment {
				set = errors.Join(set, unix.SetsockoptInt(int(fd), level, discover, probe))
			}
		})
		err = errors.Join(err, set)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// pingAnswer decodes an ICMP message if it answers the request with this identifier, or is an
// error about it.
func pingAnswer(b []byte, id uint16, v6 bool) (PingResult, bool) {
	var p Packet
	reply, request, proto := uint8(icmpEchoReply), uint8(icmpEcho), uint8(unix.IPPROTO_ICMP)
	if v6 {
		reply, request, proto = icmp6EchoReply, icmp6Echo, unix.IPPROTO_ICMPV6
	}
	p.Proto = proto
	p.decodeTransport(b)
	r := PingResult{Type: p.ICMPType, Code: p.ICMPCode}
	switch p.ICMPType {
	case request:
		return r, false
	case reply:
		return r, uint16(p.ICMPRest>>16) == id && len(b) >= 8
	}
	about, err := Decode(p.Payload)
	if err != nil || about.Proto != proto || about.ICMPType != request || uint16(about.ICMPRest>>16) != id {
		return r, false
	}
	if v6 && r.Type == icmp6TooBig {
		r.MTU = int(p.ICMPRest)
	} else if !v6 && r.Type == icmpUnreachable && r.Code == icmpFragNeeded {
		r.MTU = int(p.ICMPRest & 0xffff)
	}
	return r, true
}
