package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/ipfix"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// addressList is the value of --listen: addresses separated by commas.
type addressList []string

func (*addressList) Type() string     { return "address,..." }
func (l *addressList) String() string { return strings.Join(*l, ",") }

// Set replaces the addresses.
func (l *addressList) Set(s string) error {
	*l = nil
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l = append(*l, part)
		}
	}
	return nil
}

// interval is a duration. A number without a unit is in seconds, as in ip-masq-agent-v2.
type interval time.Duration

func (i *interval) String() string { return time.Duration(*i).String() }
func (*interval) Type() string     { return "duration" }

func (i *interval) Set(s string) error {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		*i = interval(time.Duration(n) * time.Second)
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is neither a duration such as 60s nor a number of seconds", s)
	}
	*i = interval(d)
	return nil
}

// collector is the address of an IPFIX collector; empty: none.
type collector ipfix.Collector

func (*collector) Type() string { return "address:port" }

func (c *collector) String() string {
	if *c == (collector{}) {
		return ""
	}
	return ipfix.Collector(*c).String()
}

func (c *collector) Set(s string) error {
	if s == "" {
		*c = collector{}
		return nil
	}
	parsed, err := ipfix.ParseCollector(s)
	*c = collector(parsed)
	return err
}

// parseSources parses --source-cidrs.
func parseSources(list []string) ([]netip.Prefix, error) {
	var (
		out  []netip.Prefix
		errs []error
	)
	for _, s := range list {
		p, fault := masq.ParsePrefix(strings.TrimSpace(s))
		switch {
		case fault != nil:
			errs = append(errs, fmt.Errorf("--source-cidrs: %s: %s", masq.Quote(s), fault))
		case !slices.Contains(out, p):
			out = append(out, p)
		}
	}
	return out, errors.Join(errs...)
}
