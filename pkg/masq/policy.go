package masq

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Policy says how the traffic of an attachment leaves the node. Its JSON keys
// are the keys of the CNI configuration.
type Policy struct {
	// Node says that the network has no policy, so that the node's policy applies, also when
	// it changes.
	Node bool `json:"node,omitempty"`
	// EgressDirect opts out: the source address stays for every destination.
	EgressDirect bool `json:"egressDirect,omitempty"`
	// NonMasquerade and Masquerade decide by the longest prefix which destinations are
	// direct. A destination in neither list is masqueraded.
	NonMasquerade []netip.Prefix `json:"nonMasqueradeCIDRs,omitempty"`
	Masquerade    []netip.Prefix `json:"masqueradeCIDRs,omitempty"`
	// Subnets are the network's subnets. They are direct unless Masquerade has a prefix of the
	// same length or longer.
	Subnets []netip.Prefix `json:"subnets,omitempty"`
	// LinkLocal4 and LinkLocal6 masquerade link-local destinations too.
	LinkLocal4 bool `json:"masqLinkLocal,omitempty"`
	LinkLocal6 bool `json:"masqLinkLocalIPv6,omitempty"`
	// SNATAddresses are the egress addresses. One of them is selected for each connection. If
	// a family has none, the kernel uses the address of the uplink.
	SNATAddresses []netip.Addr `json:"snatAddresses,omitempty"`
	// SNATRouted are addresses of SNATAddresses that are routed to the node and that no
	// interface has. The other addresses are used while the node has them.
	SNATRouted []netip.Addr `json:"snatAddressesRouted,omitempty"`
	// ToPorts are the source ports. If it is empty, the kernel selects any port. A connection
	// from a port below 1024 keeps a privileged port.
	ToPorts []PortRange `json:"toPorts,omitempty"`
	// RandomFully selects the source port at random.
	RandomFully bool  `json:"randomFully"`
	MSSClamp    Clamp `json:"mssClamp"`
	// MSSClamps lower the MSS of connections with some destinations further: see MSSRanges.
	MSSClamps MSSClamps `json:"mssClamps,omitempty"`
	// LocalMSSClamps are the node's own, which apply to all its policies. They are neither
	// part of the ID nor of a record.
	LocalMSSClamps MSSClamps `json:"-"`
	Helpers        []Helper  `json:"helpers,omitempty"`
	// DropInvalid drops packets that conntrack calls invalid: they would leave untranslated.
	DropInvalid bool `json:"dropInvalid"`
	// AllowAnnotations are the full names of the annotations that pods may use; nil for the
	// default: see Allows. It has no rules, so it is not part of the ID. In the policy of an
	// attachment it is the list of its network.
	AllowAnnotations []string `json:"allowAnnotations,omitzero"`
	// AcceptOtherLinks accepts new flows with the attachment's address that enter by another
	// link. Without SpoofCheck they are always accepted.
	AcceptOtherLinks bool `json:"acceptOtherLinks,omitempty"`
}

// The limits of a configured policy.
const (
	// MaxPrefixes limits each list of prefixes. Usual lists have tens of prefixes, and
	// each policy has its own set in the kernel.
	MaxPrefixes = 1024
	// MaxSNATAddresses limits SNATAddresses, which are the elements of a map in the kernel.
	MaxSNATAddresses = 64
	// MaxMappings limits, for each family, egress addresses times port ranges: the ruleset has
	// a rule or an element for each pair.
	MaxMappings = 256
)

// Default returns the policy of a network without configuration.
func Default() Policy {
	return Policy{RandomFully: true, MSSClamp: ClampPMTU, DropInvalid: true}
}

// Validate reports all invalid values, each with its key. A policy from outside is
// validated before rules are made of it.
func (p Policy) Validate() error {
	var errs []error
	prefixes := func(key string, all []netip.Prefix) {
		for _, x := range all {
			if !x.IsValid() || x != x.Masked() || x.Addr().Is4In6() {
				errs = append(errs, fmt.Errorf("%s: %q is not a prefix whose host bits are zero", key, x))
			}
		}
	}
	prefixes("nonMasqueradeCIDRs", p.NonMasquerade)
	prefixes("masqueradeCIDRs", p.Masquerade)
	prefixes("subnets", p.Subnets)
	for _, a := range p.SNATAddresses {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			errs = append(errs, fmt.Errorf("snatAddresses: %q cannot be an egress address", a))
		}
	}
	for _, a := range p.SNATRouted {
		if !slices.Contains(p.SNATAddresses, a) {
			errs = append(errs, fmt.Errorf("snatAddressesRouted: %q is not one of snatAddresses", a))
		}
	}
	for _, r := range p.ToPorts {
		if r.First < 1 || r.First > r.Last {
			errs = append(errs, fmt.Errorf("toPorts: %q is reversed or not within 1-65535", r))
		}
	}
	for _, h := range p.Helpers {
		if _, ok := HelperKindOf(h.Name); !ok {
			errs = append(errs, fmt.Errorf("helpers: %q is not a helper", h.Name))
		}
	}
	if err := p.MSSClamps.Validate("mssClamps"); err != nil {
		errs = append(errs, err)
	}
	for _, a := range p.AllowAnnotations {
		if !slices.Contains(Annotations, a) {
			errs = append(errs, fmt.Errorf("allowAnnotations: %q is not an annotation", a))
		}
	}
	return errors.Join(errs...)
}

// canonical returns the policy with sorted lists without repetitions, so that equal
// policies have equal digests.
func (p Policy) canonical() Policy {
	sortPrefixes := func(in []netip.Prefix) []netip.Prefix {
		out := slices.Clone(in)
		slices.SortFunc(out, netip.Prefix.Compare)
		return slices.Compact(out)
	}
	p.NonMasquerade = sortPrefixes(p.NonMasquerade)
	p.Masquerade = sortPrefixes(p.Masquerade)
	p.Subnets = sortPrefixes(p.Subnets)
	sortAddresses := func(in []netip.Addr) []netip.Addr {
		out := slices.Clone(in)
		slices.SortFunc(out, netip.Addr.Compare)
		return slices.Compact(out)
	}
	p.SNATAddresses = sortAddresses(p.SNATAddresses)
	p.SNATRouted = sortAddresses(p.SNATRouted)
	p.ToPorts = slices.Clone(p.ToPorts)
	slices.SortFunc(p.ToPorts, func(a, b PortRange) int { return cmp.Compare(a.First, b.First) })
	p.Helpers = slices.Clone(p.Helpers)
	for i := range p.Helpers {
		ports := slices.Clone(p.Helpers[i].Ports)
		slices.Sort(ports)
		p.Helpers[i].Ports = slices.Compact(ports)
	}
	slices.SortFunc(p.Helpers, func(a, b Helper) int { return cmp.Compare(a.Name, b.Name) })
	p.AllowAnnotations = nil
	return p
}

// ID returns a short name, which is part of the names of the policy's chain and sets.
// Policies that differ have different IDs.
//
// The ID of the node's policy does not depend on its content. When the content changes, the
// rules of its chain are replaced, and the map elements that lead to the chain stay, with
// their counters.
func (p Policy) ID() string {
	if p.Node {
		return "node-" + Policy{Node: true, EgressDirect: p.EgressDirect, Subnets: p.Subnets}.digest(4)
	}
	return p.digest(6)
}

// digest returns 2n hexadecimal digits of a digest of the policy.
func (p Policy) digest(n int) string {
	text, err := json.Marshal(p.canonical())
	if err != nil {
		panic(err) // unreachable: all fields are numbers, addresses and strings
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:n])
}

// Digest returns a digest of the whole policy. Unlike ID, it depends on the content also for
// the node's policy.
func (p Policy) Digest() string { return p.digest(sha256.Size) }

// Equal reports whether two policies make the same rules.
func (p Policy) Equal(o Policy) bool { return p.Digest() == o.Digest() }

// For returns the node's policy p for an attachment that had the node's policy old: with
// the attachment's subnets, and with the pod's opt-out if the network's list of annotations
// or, without that, the node's list allows it. Local MSS clamps of either stay.
func (p Policy) For(old Policy) Policy {
	if old.AllowAnnotations != nil {
		p.AllowAnnotations = old.AllowAnnotations
	}
	if p.LocalMSSClamps == nil {
		p.LocalMSSClamps = old.LocalMSSClamps
	}
	p.EgressDirect = old.EgressDirect && p.Allows(EgressAnnotation)
	p.Node, p.Subnets, p.AllowAnnotations = true, old.Subnets, old.AllowAnnotations
	return p
}

// SNATAddressesOf returns the egress addresses of one family.
func (p Policy) SNATAddressesOf(f Family) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(p.canonical().SNATAddresses), func(a netip.Addr) bool { return FamilyOf(a) != f })
}
