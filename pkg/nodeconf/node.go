package nodeconf

import (
	"net/netip"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// DefaultPath is where ip-masq-agent has its file (configPath in
// cmd/ip-masq-agent/ip-masq-agent.go).
const DefaultPath = "/etc/config/ip-masq-agent"

// Node is the configuration of a node.
type Node struct {
	// Policy is that of attachments whose network names none, and of
	// SourceCIDRs. It is valid.
	Policy masq.Policy
	// SourceCIDRs are sources that other plugins wired. They may overlap.
	SourceCIDRs []netip.Prefix
	// ResyncInterval is 0 where no file gives one.
	ResyncInterval time.Duration
	// Assumed tells that no file gives nonMasqueradeCIDRs, so that those of
	// Policy are the defaults.
	Assumed bool
	// Warnings name the values that have no effect because a value of another file
	// overrides them. The configuration is valid.
	Warnings conftree.Faults
}

// private are the prefixes that are direct unless a file says otherwise, and
// reserved those that nomasq-all-reserved-ranges adds. Source: NewMasqConfig in
// ip-masq-agent's cmd/ip-masq-agent/ip-masq-agent.go. There are no IPv6 prefixes
// in either.
var (
	private = []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), // RFC 1918, the three of them
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

// Default is the configuration of a node without a file: ip-masq-agent's.
func Default() Node {
	p := masq.Default()
	p.NonMasquerade = slices.Clone(private)
	return Node{Policy: p, Assumed: true}
}

// without returns the prefixes that are not among others. What is assumed to be
// direct gives way to masqueradeCIDRs: in both, a prefix would decide nothing.
func without(prefixes, others []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return slices.Contains(others, p) })
}
