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

// Policy says how the traffic of an attachment leaves the node. Its field names
// in JSON are those of the CNI configuration.
type Policy struct {
	// Node says that the network names no policy of its own, so that the node's
	// applies, whatever it becomes.
	Node bool `json:"node,omitempty"`
	// EgressDirect opts out: every destination is reached with the source
	// address unchanged.
	EgressDirect bool `json:"egressDirect,omitempty"`
	// NonMasquerade and Masquerade decide by the longest prefix which
	// destinations are direct. A destination in neither is masqueraded.
	NonMasquerade []netip.Prefix `json:"nonMasqueradeCIDRs,omitempty"`
	Masquerade    []netip.Prefix `json:"masqueradeCIDRs,omitempty"`
	// Subnets are the network's own. They are direct unless Masquerade has a
	// prefix as long or longer.
	Subnets []netip.Prefix `json:"subnets,omitempty"`
	// LinkLocal4 and LinkLocal6 masquerade link-local destinations too.
	LinkLocal4 bool `json:"masqLinkLocal,omitempty"`
	LinkLocal6 bool `json:"masqLinkLocalIPv6,omitempty"`
	// SNATAddresses are the egress addresses to choose from for each
	// connection. With none of a family, the kernel takes the address of the
	// uplink.
	SNATAddresses []netip.Addr `json:"snatAddresses,omitempty"`
	// SNATRouted are addresses of SNATAddresses that are routed to the node without
	// being its own. The other addresses are used while the node has them.
	SNATRouted []netip.Addr `json:"snatAddressesRouted,omitempty"`
	// ToPorts are the source ports to choose from; with none, the kernel does.
	// Sources below 1024 are exempt and keep a privileged port.
	ToPorts []PortRange `json:"toPorts,omitempty"`
	// RandomFully draws the source port at random.
	RandomFully bool     `json:"randomFully"`
	MSSClamp    Clamp    `json:"mssClamp"`
	Helpers     []Helper `json:"helpers,omitempty"`
	// DropInvalid drops what conntrack calls invalid: it would leave untranslated.
	DropInvalid bool `json:"dropInvalid"`
	// AllowAnnotations are the annotations that pods may use, by their full names; nil
	// for the default: see Allows. It makes no rules, so it is not part of the ID. In the
	// policy of an attachment it is its network's own list.
	AllowAnnotations []string `json:"allowAnnotations,omitzero"`
	// AcceptOtherLinks accepts new flows with the attachment's address that enter by
	// another link than the attachment's. Without SpoofCheck they are accepted anyway.
	AcceptOtherLinks bool `json:"acceptOtherLinks,omitempty"`
}

// The bounds of a policy that somebody writes.
const (
	// MaxPrefixes bounds each list of prefixes. Lists of destinations have tens; a
	// set of thousands is put into the kernel anew for each policy.
	MaxPrefixes = 1024
	// MaxSNATAddresses bounds SNATAddresses: the kernel chooses among them by a map
	// whose size is theirs.
	MaxSNATAddresses = 64
	// MaxMappings bounds, per family, egress addresses times port ranges: the
	// ruleset has a rule, or an element, for each pair.
	MaxMappings = 256
)

// Default is the policy of a network that asks for nothing in particular.
func Default() Policy {
	return Policy{RandomFully: true, MSSClamp: ClampPMTU, DropInvalid: true}
}

// Validate reports every field that cannot be carried out, each with its key and
// value. A policy from a file or from another program has to pass it before it
// becomes rules.
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
			errs = append(errs, fmt.Errorf("toPorts: %q is upside down or out of 1-65535", r))
		}
	}
	for _, h := range p.Helpers {
		if _, ok := HelperKindOf(h.Name); !ok {
			errs = append(errs, fmt.Errorf("helpers: there is no helper %q", h.Name))
		}
	}
	for _, a := range p.AllowAnnotations {
		if !slices.Contains(Annotations, a) {
			errs = append(errs, fmt.Errorf("allowAnnotations: there is no annotation %q", a))
		}
	}
	return errors.Join(errs...)
}

// canonical returns the policy with its lists sorted and without repetition, so
// that two ways to write the same policy are equal.
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

// ID is a short name that differs between policies that differ. The policy's chain
// and sets carry it in their names.
//
// The node's policy keeps its name when its content changes: then the rules of its
// chain change, and the elements that lead to the chain, with what they have
// counted, stay.
func (p Policy) ID() string {
	if p.Node {
		return "node-" + Policy{Node: true, EgressDirect: p.EgressDirect, Subnets: p.Subnets}.digest(4)
	}
	return p.digest(6)
}

// digest is 2n hexadecimal digits that differ between policies that say something
// different.
func (p Policy) digest(n int) string {
	text, err := json.Marshal(p.canonical())
	if err != nil {
		panic(err) // every field marshals: they are numbers, addresses and texts
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:n])
}

// Digest is longer than ID, and differs between all policies that say something
// different.
func (p Policy) Digest() string { return p.digest(sha256.Size) }

// Equal reports whether two policies make the same rules.
func (p Policy) Equal(o Policy) bool { return p.Digest() == o.Digest() }

// For returns the node's policy p as it applies to an attachment that had the
// node's policy old: with the attachment's own subnets, and with the pod's choice if it
// is allowed. The network's list decides, or the node's if the network gives none.
func (p Policy) For(old Policy) Policy {
	if old.AllowAnnotations != nil {
		p.AllowAnnotations = old.AllowAnnotations
	}
	p.EgressDirect = old.EgressDirect && p.Allows(EgressAnnotation)
	p.Node, p.Subnets, p.AllowAnnotations = true, old.Subnets, old.AllowAnnotations
	return p
}

// SNATAddressesOf returns the egress addresses of one family.
func (p Policy) SNATAddressesOf(f Family) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(p.canonical().SNATAddresses), func(a netip.Addr) bool { return FamilyOf(a) != f })
}
