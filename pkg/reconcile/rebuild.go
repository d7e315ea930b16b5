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

// Rebuild replaces damaged records with new ones made from the kernel's state of their
// attachments, where that is unambiguous. All fields are needed.
type Rebuild struct {
	// Snapshot and Node give the policies that are known.
	Snapshot func() Snapshot
	Node     func() Node
	// Attached and DirectRanges are methods of an nft.Conn.
	Attached     func(want func(identity string) bool) ([]nft.Attached, error)
	DirectRanges func(policy string) ([]masq.AddrRange, error)
	// Describe is the method of a veth.Conn.
	Describe func(masq.HostLink) (veth.Ours, bool, error)
	Replace  func(*store.ReadError, store.Record) (kept string, err error)
	Boot     string
	// NodeNetNS is the node's network namespace; nil where the kernel does not tell.
	NodeNetNS *masq.NodeNetNS
	Log       *slog.Logger

	said map[string]string // by path: why the record was not rebuilt
}

// Run rebuilds the damaged records among these, as far as it can, and returns how many
// it rebuilt. It does not touch records that cannot be opened, or records of newer
// versions: their content is good.
func (r *Rebuild) Run(all []UnreadableRecord) (rebuilt int) {
	said := map[string]string{}
	for _, u := range all {
		if !u.Damaged {
			continue
		}
		rec, err := r.record(u)
		kept := ""
		if err == nil {
			if rec.Evidence != nil {
				rec.Evidence.Node = r.NodeNetNS
			}
			kept, err = r.Replace(u.ReadError, rec)
		}
		if err == nil {
			rebuilt++
			r.Log.Warn("a damaged record was rebuilt from what the kernel has of its attachment; look at the damaged file, then delete it",
				"attachment", rec.Identity(), "damaged", kept, "err", u.Err)
			continue
		}
		if said[u.Path] = err.Error(); r.said[u.Path] != err.Error() {
			r.Log.Error("a record is damaged and cannot be rebuilt; its rules are left as they are until its container is deleted", "record", u.Path, "err", u.Err, "why", err)
		}
	}
	r.said = said
	return rebuilt
}

// record is what the record said, as far as that is known.
func (r *Rebuild) record(u UnreadableRecord) (rec store.Record, err error) {
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
	o, found, err := r.Describe(rec.HostLink(0))
	if err != nil {
		return rec, err
	}
	if found {
		rec.Links = []string{o.Name}
		rec.Evidence = &masq.Evidence{Boot: r.Boot, Links: []masq.HostLink{o.HostLink}}
	}
	return rec, nil
}

// fromKernel makes a record of what the kernel has. The digest in the file's name is
// the proof that it is the right attachment.
func (r *Rebuild) fromKernel(u UnreadableRecord) (rec store.Record, err error) {
	var key masq.Key
	found, err := r.Attached(func(identity string) bool {
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
		Evidence: &masq.Evidence{Boot: r.Boot},
	}
	if info, err := os.Stat(u.Path); err == nil && info.ModTime().Before(rec.Created) {
		rec.Created = info.ModTime().UTC()
	}
	o, found1, err := r.Describe(rec.HostLink(0))
	if err != nil && !errors.Is(err, veth.ErrNotOurs) {
		return rec, err
	}
	if found1 {
		rec.Chained, rec.SpoofCheck = false, o.Group == masq.CheckedGroup
		rec.MTU, rec.HostMAC = o.MTU, o.MAC
	}
	return rec, nil
}

// policy returns the policy of an ID, as an attachment of a network has it. An ID is a
// digest, so that a policy with it makes the same rules, wherever it was found. Only the
// annotations that the network allows may be others.
func (r *Rebuild) policy(network, id string) (*masq.Policy, error) {
	var found *masq.Policy
	for _, x := range r.Snapshot().Records {
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
	if p := r.Node().Policy; p != nil {
		node = *p
	}
	have, err := r.DirectRanges(id)
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

// otherPrefixes returns the ranges that are prefixes and that a policy does not have:
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
