// Package compare compares attachments with the state that ADD made. CHECK, inspect,
// inspect drift, inspect pod and the readiness of masqd all use it, so they find the same
// faults.
//
// It joins the comparisons of pkg/nft (rules and elements) and of pkg/veth (both ends of a
// link, routes, neighbor entries, forwarding). An object that this process cannot read,
// such as a network namespace that it may not enter, is reported as a Difference with the
// reason masq.NotChecked. It does not count as a fault.
package compare

import (
	"errors"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// Difference is one object that is not as ADD made it.
type Difference struct {
	// Identity is the attachment's identity (masq.Key.Identity). It is empty for the
	// node's own settings, and for objects that several attachments share.
	Identity string
	// Kind is the kind of an nft.Difference or a veth.Difference.
	Kind   string
	Reason masq.Reason
	// Name names the object. Found says how it differs or, if it is NotChecked, why.
	Name, Found string
	// Forwarding is true if the object is a setting that enables forwarding.
	Forwarding bool

	sentence string
}

// String returns the difference in one line.
func (d Difference) String() string { return d.sentence }

// Links compares links; veth.Conn implements it.
type Links interface {
	Compare([]veth.Pair) ([]veth.Difference, error)
	CompareContainer(veth.Pair) ([]veth.Difference, error)
}

// Rules compares the rules and elements of one attachment; nft.Conn implements it.
type Rules interface {
	Check(a masq.Attachment, has func(netip.Addr) (bool, error)) ([]nft.Difference, error)
}

// OfRules returns differences of table inet masq. identity is the attachment's, or empty
// for differences of no single attachment.
func OfRules(identity string, all []nft.Difference) []Difference {
	var out []Difference
	for _, d := range all {
		out = append(out, Difference{identity, string(d.Kind), d.Reason, d.Name(), d.Found(), false, d.String()})
	}
	return out
}

func ofLink(all []veth.Difference) []Difference {
	var out []Difference
	for _, d := range all {
		out = append(out, Difference{d.Identity, string(d.Kind), d.Reason, d.Name(), d.Found(), d.IsForwarding(), d.String()})
	}
	return out
}

// Link compares both ends of one link.
func Link(links Links, p veth.Pair) ([]Difference, error) {
	host, err := links.Compare([]veth.Pair{p})
	container, errContainer := links.CompareContainer(p)
	return ofLink(append(host, container...)), errors.Join(err, errContainer)
}

// Policy compares the rules and elements that one attachment needs. has reports whether
// the node has an address.
func Policy(rules Rules, a masq.Attachment, has func(netip.Addr) (bool, error)) ([]Difference, error) {
	if a.Policy == nil {
		return nil, nil
	}
	changes, err := rules.Check(a, has)
	return OfRules(a.Identity(), changes), err
}

// PairOf returns the link of a record as ADD made it. It returns nil if another plugin
// made the link, or if the plugin is adding or removing the attachment.
func PairOf(r store.Record) *veth.Pair {
	if r.Chained || !r.Ready {
		return nil
	}
	p := veth.PairOf(r.Attachment, r.Link())
	return &p
}
