package nodeconf

import (
	"net/netip"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// DefaultPath is the path of ip-masq-agent's file (configPath in
// cmd/ip-masq-agent/ip-masq-agent.go).
const DefaultPath = "/etc/config/ip-masq-agent"

// Node is the configuration of a node.
type Node struct {
	// Policy applies to attachments of networks without a policy, and to SourceCIDRs. It is
	// valid.
	Policy masq.Policy
	// SourceCIDRs are addresses of pods of other plugins. They may overlap.
	SourceCIDRs []netip.Prefix
	// ResyncInterval is 0 if no file gives it.
	ResyncInterval time.Duration
	// Assumed is true if no file gives nonMasqueradeCIDRs, so that Policy has the defaults.
	Assumed bool
	// Warnings name the values that have no effect because a value of another file
	// overrides them. The configuration is valid.
	Warnings conftree.Faults
}

// private are the prefixes that are direct by default. reserved are the prefixes that
// nomasq-all-reserved-ranges adds. Source: NewMasqConfig in ip-masq-agent's
// cmd/ip-masq-agent/ip-masq-agent.go. Neither has IPv6 prefixes.
var (
	private = []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), // RFC 1918, like the next two
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
	}
	reserved = []netip.Prefix{
		netip.MustParsePrefix("100.64.0.0/10"),   // RFC 6598, shared address space
		netip.MustParsePrefix("192.0.0.0/24"),    // RFC 6890, protocol assignments
		netip.MustParsePrefix("192.0.2.0/24"),    // RFC 5737, documentation
		netip.MustParsePrefix("192.88.99.0/24"),  // RFC 7526, 6to4 anycast
		netip.MustParsePrefix("198.18.0.0/15"),   // RFC 6815, benchmarks
		netip.MustParsePrefix("198.51.100.0/24"), // RFC 5737
		netip.MustParsePrefix("203.0.113.0/24"),  // RFC 5737
		netip.MustParsePrefix("240.0.0.0/4"),     // RFC 5735, former class E
	}
)

// Default returns the configuration of a node without a file, which is the default of
// ip-masq-agent.
func Default() Node {
	p := masq.Default()
	p.NonMasquerade = slices.Clone(private)
	return Node{Policy: p, Assumed: true}
}

// without returns the prefixes that are not among others. masqueradeCIDRs override the
// default direct prefixes: a prefix in both lists would decide nothing.
func without(prefixes, others []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return slices.Contains(others, p) })
}
