package ruleset

import (
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// SetKind is the kind of a set, with which its name begins.
type SetKind string

// The kinds of sets. LinkSet, ReservedSet and NeverSet have one set for both families, all
// others have a set for each family.
const (
	PolicySet   SetKind = "policy"   // maps an attachment's address to the chain of its policy
	SourceSet   SetKind = "sources"  // pairs of a link and an address that it may send with
	LinkedSet   SetKind = "linked"   // addresses that are accepted from their own link only
	InvalidSet  SetKind = "invalid"  // addresses whose packets without a flow are dropped
	HelpedSet   SetKind = "helped"   // addresses that have a conntrack helper
	ClampSet    SetKind = "clamp"    // addresses whose MSS is lowered, a set for each MSS
	HelperSet   SetKind = "helper"   // addresses and ports, a set for each helper object
	DirectSet   SetKind = "direct"   // direct destinations, a set for each policy
	MSSMap      SetKind = "mss"      // maps destinations to an MSS, a map for each policy with mssClamps
	AttachedSet SetKind = "attached" // addresses of attachments, a set for each policy with mssClamps
	CIDRSet     SetKind = "cidr"     // sourceCIDRs
	LinkSet     SetKind = "links"    // links whose sources are checked
	ReservedSet SetKind = "reserved" // ports that are reserved for the node
	NeverSet    SetKind = "never"    // types of destinations that are never translated
)

// The kinds of sets of the table for masqd's helpers.
const (
	ListenerSet SetKind = "listeners" // addresses and ports at which masqd listens
	RedirectMap SetKind = "redirect"  // maps an attachment's address and a port of a helper to a chain that redirects
	ApartSet    SetKind = "apart"     // addresses of attachments within sourceCIDRs
	SpokenMap   SetKind = "spoken"    // maps an address and port of masqd to the chain of the policy it speaks for
	OpenedMap   SetKind = "opened"    // maps an announced address and port, and the peer, to the attachment's
)

// setKinds has the properties of each kind. In types, addressOf is replaced by the address
// type of the set's family.
var setKinds = map[SetKind]struct {
	Set
	hasFamily, hasVariant bool
}{
	PolicySet:   {Set{Type: addressOf, Live: true, Verdict: true, Counter: true}, true, false},
	SourceSet:   {Set{Type: "ifname . " + addressOf, Live: true}, true, false},
	LinkedSet:   {Set{Type: addressOf, Live: true, Counter: true}, true, false},
	InvalidSet:  {Set{Type: addressOf, Live: true, Counter: true}, true, false},
	HelpedSet:   {Set{Type: addressOf, Live: true}, true, false},
	ClampSet:    {Set{Type: addressOf, Live: true}, true, true},
	HelperSet:   {Set{Type: addressOf + " . inet_service", Live: true}, true, true},
	DirectSet:   {Set{Type: addressOf, Interval: true}, true, true},
	MSSMap:      {Set{Type: addressOf, Interval: true, MSS: true}, true, true},
	AttachedSet: {Set{Type: addressOf, Live: true}, true, true},
	CIDRSet:     {Set{Type: addressOf, Interval: true}, true, false},
	LinkSet:     {Set{Type: "ifname", Live: true, Counter: true}, false, false},
	ReservedSet: {Set{Type: "inet_service", Interval: true}, false, false},
	NeverSet:    {Set{Type: "fib_addrtype"}, false, false},
	ListenerSet: {Set{Type: addressOf + " . inet_proto . inet_service"}, true, false},
	RedirectMap: {Set{Type: addressOf + " . inet_proto . inet_service", Verdict: true}, true, false},
	ApartSet:    {Set{Type: addressOf}, true, false},
	SpokenMap:   {Set{Type: addressOf + " . inet_proto . inet_service", Verdict: true}, true, false},
	OpenedMap:   {Set{Type: addressOf + " . inet_proto . inet_service . " + addressOf, Data: addressOf + " . inet_service", Timeout: true}, true, false},
}

const addressOf = "ADDRESS"

var addressType = map[masq.Family]string{masq.IPv4: "ipv4_addr", masq.IPv6: "ipv6_addr"}

// SetName is the parts of a set's name.
type SetName struct {
	Kind   SetKind
	Family masq.Family // 0 for kinds with one set for both families
	// Variant is the MSS of a ClampSet, the object of a HelperSet, the policy's ID of a
	// DirectSet, MSSMap or AttachedSet, and empty for other kinds.
	Variant string
}

// Policy returns the ID of the policy that a set belongs to, or "" for a set that several
// policies share.
func (n SetName) Policy() string {
	switch n.Kind {
	case DirectSet, MSSMap, AttachedSet:
		return n.Variant
	}
	return ""
}

// Of returns the name of the set of a family, for kinds without variants.
func (k SetKind) Of(f masq.Family) string { return SetName{Kind: k, Family: f}.String() }

// String returns the name: "policy4", "clamp6-pmtu", "links".
func (n SetName) String() string {
	name := string(n.Kind)
	if n.Family != 0 {
		name += n.Family.String()
	}
	if n.Variant != "" {
		name += "-" + n.Variant
	}
	return name
}

// ParseSetName is the inverse of SetName.String. It returns false if no ruleset has a set
// of that name.
func ParseSetName(name string) (n SetName, ok bool) {
	kind, variant, _ := strings.Cut(name, "-")
	n = SetName{Kind: SetKind(kind), Variant: variant}
	for _, f := range masq.Families {
		if k, found := strings.CutSuffix(kind, f.String()); found {
			n.Kind, n.Family = SetKind(k), f
		}
	}
	k, ok := setKinds[n.Kind]
	ok = ok && k.hasFamily == (n.Family != 0) && k.hasVariant == (n.Variant != "")
	return n, ok && n.String() == name
}

// Set returns the set that has the name, without elements.
func (n SetName) Set() Set {
	s := setKinds[n.Kind].Set
	s.Name = n.String()
	s.Type = strings.ReplaceAll(s.Type, addressOf, addressType[n.Family])
	s.Data = strings.ReplaceAll(s.Data, addressOf, addressType[n.Family])
	return s
}

// LiveSet returns the live set that has a name, without elements. It returns false if no
// live set has that name.
func LiveSet(name string) (s Set, ok bool) {
	if n, valid := ParseSetName(name); valid && setKinds[n.Kind].Live {
		return n.Set(), true
	}
	return Set{}, false
}
