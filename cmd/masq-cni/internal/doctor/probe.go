package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// resolveTimeout is the wait for the address of the target's name.
const resolveTimeout = 5 * time.Second

// target parses --to and resolves its name in the node's network namespace. It returns nil if
// the flag is not given.
func (f *flags) target(ctx context.Context) (*doctor.Target, error) {
	if f.to == "" {
		return nil, nil
	}
	t, err := parseTarget(f.to)
	if err != nil {
		return nil, err
	}
	if t.Address.Addr().IsValid() {
		return t, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	r, err := nodeResolver()
	if err != nil {
		return nil, err
	}
	all, err := r.LookupNetIP(ctx, "ip", t.Host)
	if err != nil {
		return nil, fmt.Errorf("--to %s: %w", masq.Quote(f.to), err)
	}
	port := t.Address.Port()
	for _, a := range all { // the first address of each family
		a = a.Unmap()
		switch {
		case !t.Address.Addr().IsValid():
			t.Address = netip.AddrPortFrom(a, port)
		case a.Is4() != t.Address.Addr().Is4() && t.Other == nil:
			other := netip.AddrPortFrom(a, port)
			t.Other = &other
		}
	}
	return t, nil
}

// parseTarget reads HOST:PORT or HOST:PORT/PROTOCOL. The address has the port, and no address
// if HOST is a name.
func parseTarget(s string) (*doctor.Target, error) {
	fault := func(why string) error {
		return fmt.Errorf("--to %s: %s; give HOST:PORT or HOST:PORT/udp, an IPv6 address as [ADDRESS]:PORT", masq.Quote(s), why)
	}
	endpoint, protocol, given := strings.Cut(s, "/")
	if !given {
		protocol = "tcp"
	}
	if protocol != "tcp" && protocol != "udp" {
		return nil, fault("the protocol is neither tcp nor udp")
	}
	host, text, err := net.SplitHostPort(endpoint)
	if err != nil {
		return nil, fault("it has no port")
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return nil, fault("the port is not within 1-65535")
	}
	t := &doctor.Target{Host: host, Protocol: protocol}
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil && (host == "" || strings.ContainsAny(host, " []:%")):
		return nil, fault("the host is neither a name nor an address")
	case err != nil:
		t.Address = netip.AddrPortFrom(netip.Addr{}, uint16(port))
		return t, nil
	case a.Zone() != "" || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified():
		return nil, fault("the address is not one that containers reach through the node")
	}
	t.Address = netip.AddrPortFrom(a.Unmap(), uint16(port))
	return t, nil
}

// nodeResolver returns a resolver whose queries leave from the network namespace of the
// calling thread: the resolver's goroutines run on other threads.
func nodeResolver() (*net.Resolver, error) {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	var here, process unix.Stat_t
	if err := errors.Join(unix.Fstat(int(own.Fd()), &here), unix.Stat("/proc/self/ns/net", &process)); err != nil {
		return nil, errors.Join(err, own.Close())
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (c net.Conn, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
			if err = unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil && here.Ino != process.Ino {
				return
			}
			c, err = (&net.Dialer{}).DialContext(ctx, network, address)
		}()
		<-done
		return c, err
	}}, nil
}
