package report

import (
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Attachment is an attachment, and what its flows come to.
type Attachment struct {
	Owner
	PodUID    string       `json:"podUID,omitempty"`
	Addresses []netip.Addr `json:"addresses"`
	// Policy is the ID of the policy in force, empty where the network asked for the
	// link alone.
	Policy string `json:"policy"`
	// Ready is false while the plugin adds or removes the attachment, and after it
	// was killed at that.
	Ready   bool `json:"ready"`
	Chained bool `json:"chained"` // another plugin made the link
	// Links are the node's interfaces that it hangs on.
	Links   []string `json:"links"`
	NetNS   string   `json:"netns,omitempty"`
	MTU     int      `json:"mtu,omitempty"` // in bytes
	Created Time     `json:"created"`
	Count
	// Begun is how many flows have begun since the attachment's rules were made,
	// those that are over among them. It is null where the kernel has no element for
	// it, and the sum of its addresses otherwise.
	Begun *uint64 `json:"begun"`
}

// Count is what the flows of an attachment come to that are in the kernel's table.
type Count struct {
	Flows      int `json:"flows"`    // that it began
	Incoming   int `json:"incoming"` // that reached it
	Translated int `json:"translated"`
	// Packets and Bytes of flows that it began, both ways. They are left out where
	// the kernel does not count.
	Packets Sides `json:"packets,omitzero"`
	Bytes   Sides `json:"bytes,omitzero"`
	// TranslatedBytes are those of translated flows, both ways, for metrics.
	TranslatedBytes uint64 `json:"-"`
}

// AttachmentsOf joins records with the policies in force, and counts with what the
// table has counted. The counts have the indices of the records.
func AttachmentsOf(records []store.Record, d Desired, counts []Count, begun []nft.Begun) []Attachment {
	known := map[string]uint64{}
	seen := map[string]bool{}
	for _, b := range begun {
		known[b.Identity] += b.Packets
		seen[b.Identity] = true
	}
	ids := map[*masq.Policy]string{}
	out := make([]Attachment, 0, len(records))
	for i, r := range records {
		a := Attachment{
			Owner: OwnerOf(r.Attachment), PodUID: r.UID, Addresses: r.Addresses,
			Ready: r.Ready, Chained: r.Chained, Links: r.Links, NetNS: r.NetNS, MTU: r.MTU, Created: Time{r.Created},
		}
		if p := d.Attachments[i].Policy; p != nil {
			if ids[p] == "" {
				ids[p] = p.ID()
			}
			a.Policy = ids[p]
		}
		if a.Addresses == nil {
			a.Addresses = []netip.Addr{}
		}
		if a.Links == nil {
			a.Links = []string{}
		}
		if i < len(counts) {
			a.Count = counts[i]
		}
		if id := r.Identity(); seen[id] {
			n := known[id]
			a.Begun = &n
		}
		out = append(out, a)
	}
	return out
}

// Policy is a policy in use.
type Policy struct {
	ID          string `json:"id"`
	Attachments int    `json:"attachments"`
	// Sources says that the node's sourceCIDRs leave under it too.
	Sources bool `json:"sources"`
	// SNATMissing are addresses of snatAddresses that the node does not have. No flow
	// leaves with them.
	SNATMissing []netip.Addr `json:"snatAddressesMissing"`
	// Dropped are the families, "4" and "6", whose flows are dropped, because the
	// node has none of their addresses of snatAddresses. A family without attachments
	// and sourceCIDRs is not among them.
	Dropped []string `json:"droppedFamilies"`
	masq.Policy
}

// Policies are those in use, in the order in which they came into use.
func (d Desired) Policies() []Policy {
	out := []Policy{}
	inUse := ruleset.FamiliesOf(d.Attachments, d.Sources)
	at := map[*masq.Policy]int{}
	add := func(p *masq.Policy) int {
		if i, ok := at[p]; ok {
			return i
		}
		at[p] = len(out)
		x := Policy{ID: p.ID(), Policy: *p, SNATMissing: []netip.Addr{}, Dropped: []string{}}
		x.AllowAnnotations = nil // networks that share a policy may differ in it
		for _, m := range d.Egress.Missing(*p, inUse[p.ID()]) {
			x.SNATMissing = append(x.SNATMissing, m.Address)
			if f := masq.FamilyOf(m.Address).String(); m.Dropped && !slices.Contains(x.Dropped, f) {
				x.Dropped = append(x.Dropped, f)
			}
		}
		out = append(out, x)
		return len(out) - 1
	}
	for _, a := range d.Attachments {
		if a.Policy != nil {
			out[add(a.Policy)].Attachments++
		}
	}
	if len(d.Sources.Prefixes) == 0 {
		return out
	}
	for i := range out {
		if out[i].Equal(d.Sources.Policy) {
			out[i].Sources = true
			return out
		}
	}
	out[add(&d.Sources.Policy)].Sources = true
	return out
}
