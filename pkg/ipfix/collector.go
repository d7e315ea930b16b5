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

// Collector is the destination of records.
type Collector struct {
	// Network is "udp" or "tcp".
	Network string
	// Host is a name or an address.
	Host string
	Port uint16
}

var errForm = errors.New("give ADDRESS:PORT, such as 192.0.2.9:4739 or [2001:db8::9]:4739; append /tcp for TCP")

// ParseCollector parses ADDRESS:PORT, ADDRESS:PORT/udp or ADDRESS:PORT/tcp. The default is
// UDP, on which collectors usually listen.
func ParseCollector(s string) (c Collector, err error) {
	at, network, given := strings.Cut(s, "/")
	if !given {
		network = "udp"
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return c, fmt.Errorf("%q is not an address with a port; %w", s, errForm)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case host == "":
		return c, fmt.Errorf("%q has no host; %w", s, errForm)
	case err != nil || n == 0:
		return c, fmt.Errorf("%q: port %q is not in the range 1-65535; %w", s, port, errForm)
	case network != "udp" && network != "tcp":
		return c, fmt.Errorf("%q: %q is neither udp nor tcp; %w", s, network, errForm)
	}
	return Collector{Network: network, Host: host, Port: uint16(n)}, nil
}

// String returns the collector in the form that ParseCollector parses.
func (c Collector) String() string { return c.address() + "/" + c.Network }

func (c Collector) address() string {
	return net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
}

// resolve returns an error if the host name does not exist. Unreachable name servers are no
// error: they may start later than masqd. The name is resolved again for each session.
func (c Collector) resolve(ctx context.Context) error {
	if _, err := netip.ParseAddr(c.Host); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := net.DefaultResolver.LookupNetIP(ctx, "ip", c.Host)
	if unknown := (*net.DNSError)(nil); errors.As(err, &unknown) && unknown.IsNotFound {
		return fmt.Errorf("%q does not resolve: %w; give an address or another name", c, err)
	}
	return nil
}
