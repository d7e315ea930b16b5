package reconcile

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// RebuildDeps are what a Rebuilder needs. All fields are required, except Boot and
// NodeNetNS.
type RebuildDeps struct {
	// Records are the records of the node's attachments.
	Records *Cache
	// Node returns the node's configuration.
	Node func() NodeConfig
	// Attached and DirectRanges read the ruleset, as the methods of nft.Conn do.
	Attached     func(want func(identity string) bool) ([]nft.Attached, error)
	DirectRanges func(policy string) ([]masq.AddrRange, error)
	// Describe reads a link, as the method of veth.Conn does.
	Describe func(masq.HostLink) (veth.ManagedLink, bool, error)
	// Boot is the ID of this boot; empty if it is not known.
	Boot string
	// NodeNetNS is the node's network namespace; nil if it is not known.
	NodeNetNS *masq.NodeNetNS
	Log       *slog.Logger
}

// Validate returns an error that names every field which is missing.
func (d RebuildDeps) Validate() error {
	return required("RebuildDeps", map[string]bool{
		"Records": d.Records != nil, "Node": d.Node != nil, "Attached": d.Attached != nil,
		"DirectRanges": d.DirectRanges != nil, "Describe": d.Describe != nil, "Log": d.Log != nil,
	})
}

// Rebuilder replaces damaged records with new ones made from the kernel's state of their
// attachments, if that is unambiguous. It is used by one goroutine at a time.
type Rebuilder struct {
	deps     RebuildDeps
	reported map[string]string // by path: why the record was not rebuilt
}

// NewRebuilder returns a Rebuilder, or an error if a dependency is missing.
func NewRebuilder(d RebuildDeps) (*Rebuilder, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return &Rebuilder{deps: d}, nil
}

// Run rebuilds damaged records as far as possible, and returns how many it rebuilt. It does
// not replace records that cannot be opened or that a newer version wrote: their content may
// be valid.
func (r *Rebuilder) Run() (rebuilt int) {
	reported := map[string]string{}
	for _, u := range r.deps.Records.Unreadable() {
		if !u.Damaged {
			continue
		}
		rec, kept, err := r.rebuild(u)
		if err == nil {
			rebuilt++
			r.deps.Log.Warn("a damaged record was rebuilt from the kernel's state of its attachment; inspect the damaged file, then delete it",
				"attachment", rec.Identity(), "damaged", kept, "err", u.Err)
			continue
		}
		if reported[u.Path] = err.Error(); r.reported[u.Path] != err.Error() {
			r.deps.Log.Error("a record is damaged and cannot be rebuilt; its rules are kept until its container is deleted", "record", u.Path, "err", u.Err, "why", err)
		}
	}
	r.reported = reported
	return rebuilt
}

// rebuild replaces one damaged record. kept is the path that the damaged file has now.
func (r *Rebuilder) rebuild(u UnreadableRecord) (rec store.Record, kept string, err error) {
	if rec, err = r.record(u); err != nil {
		return rec, "", err
	}
	if rec.Evidence != nil {
		rec.Evidence.Node = r.deps.NodeNetNS
	}
	kept, err = r.deps.Records.records.Replace(u.ReadError, rec)
	return rec, kept, err
}

// record returns the content for a damaged record: its last known version if that is in
// memory, otherwise the kernel's state of its attachment.
func (r *Rebuilder) record(u UnreadableRecord) (rec store.Record, err error) {
	if u.Known != nil {
		rec = *u.Known
		if rec.Evidence != nil {
			e := *rec.Evidence
			rec.Evidence = &e
		}
	} else if rec, err = r.fromKernel(u); err != nil {
		return rec, err
	}
	if rec.Chained {
		return rec, nil
	}
	o, found, err := r.deps.Describe(rec.HostLink(0))
	if err != nil {
		return rec, err
	}
	if found {
		rec.Links = []string{o.Name}
		rec.Evidence = &masq.Evidence{Boot: r.deps.Boot, Links: []masq.HostLink{o.HostLink}}
	}
	return rec, nil
}

// fromKernel makes a record from the kernel's state. The digest in the file's name proves
// that it is the right attachment.
func (r *Rebuilder) fromKernel(u UnreadableRecord) (rec store.Record, err error) {
	var key masq.Key
	found, err := r.deps.Attached(func(identity string) bool {
		k, ok := masq.ParseIdentity(identity)
		if ok && k.Digest() == u.Digest() {
			key = k
			return true
		}
		return false
	})
	switch {
	case err != nil:
		return rec, err
	case len(found) != 1:
		return rec, errors.New("the kernel has no elements of this attachment, or its identity was shortened")
	case found[0].Policy == "":
		return rec, errors.New("its addresses have several policies")
	}
	policy, err := r.policy(key.Network, found[0].Policy)
	if err != nil {
		return rec, err
	}
	rec = store.Record{
		Attachment: masq.Attachment{Key: key, Addresses: found[0].Addresses, Policy: policy},
		Ready:      true, Chained: true, Created: time.Now().UTC(),
		Evidence: &masq.Evidence{Boot: r.deps.Boot},
	}
	if info, err := os.Stat(u.Path); err == nil && info.ModTime().Before(rec.Created) {
		rec.Created = info.ModTime().UTC()
	}
	o, found1, err := r.deps.Describe(rec.HostLink(0))
	if err != nil && !errors.Is(err, veth.ErrAliasMismatch) {
		return rec, err
	}
	if found1 {
		rec.Chained, rec.SpoofCheck = false, o.Group == masq.CheckedGroup
		rec.MTU, rec.HostMAC = o.MTU, o.MAC
	}
	return rec, nil
}

// policy returns the policy with an ID, as attachments of a network have it. An ID is a
// digest of what the policy says, so a policy of another network with this ID makes the
// same rules. Only the annotations that the network allows may differ.
func (r *Rebuilder) policy(network, id string) (*masq.Policy, error) {
	var found *masq.Policy
	for _, x := range r.deps.Records.Snapshot().Records {
		if x.Policy == nil || x.Policy.ID() != id {
			continue
		}
		if found = x.Policy; x.Network == network {
			break
		}
	}
	if found != nil {
		return found, nil
	}
	node := masq.Default()
	if p := r.deps.Node().Policy; p != nil {
		node = *p
	}
	have, err := r.deps.DirectRanges(id)
	if err != nil {
		return nil, err
	}
	for _, direct := range []bool{false, true} {
		p := node.For(masq.Policy{EgressDirect: direct})
		if !direct {
			p.Subnets = otherPrefixes(have, p)
		}
		if p.ID() == id {
			return &p, nil
		}
	}
	return nil, fmt.Errorf("no other record and no configuration has its policy %s", id)
}

// otherPrefixes returns the ranges that are prefixes and that a policy does not contain:
// the network's own subnets.
func otherPrefixes(have []masq.AddrRange, p masq.Policy) (out []netip.Prefix) {
	for _, x := range have {
		prefix, ok := x.Prefix()
		if ok && !slices.Contains(p.DirectRanges(masq.FamilyOf(x.First)), x) {
			out = append(out, prefix)
		}
	}
	return out
}
