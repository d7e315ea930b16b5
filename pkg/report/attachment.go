package report

import (
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Attachment is an attachment and the counts of its flows.
type Attachment struct {
	Owner
	PodUID    string       `json:"podUID,omitempty"`
	Addresses []netip.Addr `json:"addresses"`
	// Policy is the ID of the active policy. It is empty if the network has none, so that
	// masq only makes the link.
	Policy string `json:"policy"`
	// Ready is false while ADD or DEL runs, and after one of them was killed.
	Ready   bool `json:"ready"`
	Chained bool `json:"chained"` // another plugin made the link
	// Links are the interfaces of the node that lead to the container.
	Links   []string `json:"links"`
	NetNS   string   `json:"netns,omitempty"`
	MTU     int      `json:"mtu,omitempty"` // in bytes
	Created Time     `json:"created"`
	Count
	// Begun is the number of flows that have begun since ADD, including closed flows. It
	// is the sum for all addresses, and null if the kernel has no element of the attachment.
	Begun *uint64 `json:"begun"`
}

// Count has the numbers of an attachment's flows in the kernel's flow table.
type Count struct {
	Flows      int `json:"flows"`    // flows that the attachment began
	Incoming   int `json:"incoming"` // flows that reached it
	Translated int `json:"translated"`
	// Packets and Bytes are the traffic of Flows. They are omitted if the kernel does not
	// count packets.
	Packets Sides `json:"packets,omitzero"`
	Bytes   Sides `json:"bytes,omitzero"`
	// TranslatedBytes is the traffic of translated flows in both directions, for metrics.
	TranslatedBytes uint64 `json:"-"`
}

// AttachmentsOf joins records with their active policies, with the counts of their flows, and
// with the counters of table inet masq. counts has the indices of the records.
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
	// Sources is true if the policy also applies to sourceCIDRs.
	Sources bool `json:"sources"`
	// SNATMissing are addresses of snatAddresses that the node does not have. No flow is
	// translated to them.
	SNATMissing []netip.Addr `json:"snatAddressesMissing"`
	// Dropped are the families, "4" and "6", of which the node has no address of
	// snatAddresses, so that their flows are dropped. Families without attachments and
	// sourceCIDRs are omitted.
	Dropped []string `json:"droppedFamilies"`
	masq.Policy
}

// Policies returns the policies in use, ordered by their first attachment.
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
