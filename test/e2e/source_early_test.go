package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// fragments splits an IP packet after n bytes of its payload; n must be a multiple of 8.
func fragments(packet []byte, id uint32, n int) (first, second []byte) {
	const more = 1 // the flag "more fragments": bit 13 of the word in IPv4, bit 0 in IPv6
	if packet[0]>>4 == 4 {
		cut := func(payload []byte, word uint16) []byte {
			out := append(bytes.Clone(packet[:20]), payload...)
			binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
			binary.BigEndian.PutUint16(out[4:], uint16(id))
			binary.BigEndian.PutUint16(out[6:], word)
			return out
		}
		return cut(packet[20:20+n], more<<13), cut(packet[20+n:], uint16(n/8))
	}
	cut := func(payload []byte, word uint16) []byte {
		header := []byte{packet[6], 0, 0, 0, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(header[2:], word)
		binary.BigEndian.PutUint32(header[4:], id)
		out := append(append(bytes.Clone(packet[:40]), header...), payload...)
		out[6] = unix.IPPROTO_FRAGMENT
		binary.BigEndian.PutUint16(out[4:], uint16(len(out)-40))
		return out
	}
	return cut(packet[40:40+n], more), cut(packet[40+n:], uint16(n))
}

// TestForgedFragment: a container sends the second fragment of another container's datagram,
// with that container's address and IP ID. The datagram arrives unchanged.
func TestForgedFragment(t *testing.T) {
	const (
		port = 4243
		cut  = 24 // UDP header and head
		head = "first fragment.."
		own  = "from victim in order"
		// The UDP checksum adds words in any order.
		forged = "om victim in orderfr"
	)
	for _, checked := range []bool{true, false} {
		t.Run(fmt.Sprintf("spoofCheck %v", checked), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list := w.conflist("1.1.0", w.masq().With(keys{"spoofCheck": checked}))
			c, victim := w.attach("a", list), w.attach("victim", list)
			dropped := 0
			for _, p := range w.Plans() {
				server := assert.Must(w.Server.ListenUDP(at(p.Server, port)))(t)
				defer func() { _ = server.Close() }()
				arrives := func(want string) {
					t.Helper()
					deadline, _ := soon(t).Deadline()
					assert.NoError(t, server.SetReadDeadline(deadline))
					b := make([]byte, 100)
					n, from, err := server.ReadFromUDPAddrPort(b)
					if err != nil || from.Addr() != p.Node || string(b[:n]) != head+want {
						t.Errorf("%q from %s, %v; want %q from %s", b[:n], from, err, head+want, p.Node)
					}
				}
				id := uint32(4711)
				parts := func(tail string) (first, second []byte) {
					packet := nstest.UDPPacket(at(victim.addr(p.Server), 700), at(p.Server, port), []byte(head+tail))
					return fragments(packet, id, cut)
				}
				for _, forgedFirst := range []bool{false, true} {
					id++
					first, last := parts(own)
					_, other := parts(forged)
					if !forgedFirst {
						assert.NoError(t, victim.SendRaw(first))
					}
					assert.NoError(t, c.SendRaw(other))
					if checked {
						dropped++
						until(t, "the forged fragment is dropped", func() bool { return w.counted("sources/spoofed") == dropped })
					}
					if forgedFirst {
						assert.NoError(t, victim.SendRaw(first))
					}
					if checked {
						assert.NoError(t, victim.SendRaw(last))
						arrives(own)
					} else {
						arrives(forged)
					}
				}
			}
		})
	}
}

// TestForgedSYN: a container sends SYNs with the addresses of another container's expected
// FTP data connection. The expectation remains for the real connection.
func TestForgedSYN(t *testing.T) {
	for _, checked := range []bool{true, false} {
		t.Run(fmt.Sprintf("spoofCheck %v", checked), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			s := w.vsftpd(21)
			list := w.conflist("1.1.0", w.masq().With(keys{"spoofCheck": checked, "helpers": keys{"ftp": []uint16{21}}}))
			c, victim := w.attach("a", list), w.attach("victim", list)
			sent := 0
			for _, p := range w.Plans() {
				src := victim.addr(p.Server)
				session := victim.login(t, at(p.Server, s.port))
				data := session.passive()
				before := w.expectations(p.Node)
				if want := fmt.Sprintf("dport=%d ", data); !strings.Contains(before, want) {
					t.Fatalf("no expectation with %q:\n%s", want, before)
				}
				for i := range 3 {
					assert.NoError(t, c.SendRaw(nstest.TCPPacket(nstest.Segment{
						Src: at(src, uint16(5000+i)), Dst: at(p.Server, data), Flags: nstest.SYN, Seq: 1,
					})))
					sent++
				}
				if !checked {
					until(t, "the forged packets use the expectation", func() bool { return w.expectations(p.Node) == "" })
					continue
				}
				until(t, "the forged packets are counted", func() bool { return w.counted("sources/spoofed") == sent })
				if !strings.Contains(w.expectations(p.Node), fmt.Sprintf("dport=%d ", data)) {
					t.Error("the forged packets used the expectation")
				}
				conn := assert.Must(victim.Dial(soon(t), "tcp", netip.AddrPort{}, at(p.Server, data)))(t)
				assert.NoError(t, conn.Close())
				until(t, "the connection uses the expectation", func() bool { return w.expectations(p.Node) == "" })
			}
		})
	}
}

// passive has the server listen for a data connection, and returns its port.
func (c *ftpSession) passive() (port uint16) {
	assert.NoError(c.t, c.PrintfLine("EPSV"))
	_, line, err := c.ReadResponse(229)
	assert.NoError(c.t, err)
	_, line, _ = strings.Cut(line, "(|||")
	_, err = fmt.Sscanf(line, "%d|", &port)
	assert.NoError(c.t, err)
	return port
}
