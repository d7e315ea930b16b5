package ipfix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Collector is where records go.
type Collector struct {
	// Network is "udp" or "tcp".
	Network string
	// Host is a name or an address.
	Host string
	Port uint16
}

var errForm = errors.New("give ADDRESS:PORT, such as 192.0.2.9:4739 or [2001:db8::9]:4739, and /tcp behind it for TCP")

// ParseCollector reads ADDRESS:PORT, ADDRESS:PORT/udp or ADDRESS:PORT/tcp. UDP is the
// default: it is what collectors listen on.
func ParseCollector(s string) (c Collector, err error) {
	at, network, given := strings.Cut(s, "/")
	if !given {
		network = "udp"
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		// Its own message names the part alone.
		return c, fmt.Errorf("%q is no address with a port; %w", s, errForm)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case host == "":
		return c, fmt.Errorf("%q names no host; %w", s, errForm)
	case err != nil || n == 0:
		return c, fmt.Errorf("%q: port %q is not within 1-65535; %w", s, port, errForm)
	case network != "udp" && network != "tcp":
		return c, fmt.Errorf("%q: %q is neither udp nor tcp; %w", s, network, errForm)
	}
	return Collector{Network: network, Host: host, Port: uint16(n)}, nil
}

// String is what ParseCollector reads.
func (c Collector) String() string { return c.address() + "/" + c.Network }

func (c Collector) address() string {
	return net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
}

// resolve reports a name that has no address. Where nobody can be asked, that is not
// known: a node's name servers may come later than its daemons. The name is asked for
// again at each connection.
func (c Collector) resolve(ctx context.Context) error {
	if _, err := netip.ParseAddr(c.Host); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := net.DefaultResolver.LookupNetIP(ctx, "ip", c.Host)
	if unknown := (*net.DNSError)(nil); errors.As(err, &unknown) && unknown.IsNotFound {
		return fmt.Errorf("%q does not resolve: %w; give an address, or a name that has one", c, err)
	}
	return nil
}
