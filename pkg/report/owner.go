package report

import (
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Owner identifies an attachment. The pod is empty if the runtime is not Kubernetes.
type Owner struct {
	Network      string `json:"network"`
	ContainerID  string `json:"containerID"`
	Interface    string `json:"interface"`
	PodNamespace string `json:"podNamespace"`
	PodName      string `json:"podName"`
}

// OwnerOf returns the owner for an attachment.
func OwnerOf(a masq.Attachment) Owner {
	return Owner{a.Network, a.ContainerID, a.Interface, a.Namespace, a.Name}
}

// Key returns the key of the attachment.
func (o Owner) Key() masq.Key {
	return masq.Key{Network: o.Network, ContainerID: o.ContainerID, Interface: o.Interface}
}

// Pod returns the pod as "namespace/name" or, without a pod, the beginning of the container
// ID. It is untrusted text: use Clean before writing it to a terminal.
func (o Owner) Pod() string {
	switch {
	case o.PodName != "":
		return o.PodNamespace + "/" + o.PodName
	case len(o.ContainerID) > shortID:
		return o.ContainerID[:shortID]
	}
	return o.ContainerID
}

// shortID is the length of a shortened container ID, as in crictl.
const shortID = 13

// Owners finds attachments by their addresses. It is immutable, and so safe for concurrent
// use.
type Owners struct {
	all    []Owner
	byAddr map[netip.Addr]int32
	spoken map[speaker]int32 // see WithSpoken
}

// speaker is an address and port of masqd from which it speaks for an attachment.
type speaker struct {
	addr  netip.AddrPort
	proto uint8
}

// OwnersOf returns the attachments of records, including pending ones. The records are in
// the order of store.Sort: if two have one address, the later is its owner.
func OwnersOf(records []store.Record) *Owners {
	o := &Owners{all: make([]Owner, 0, len(records)), byAddr: make(map[netip.Addr]int32, len(records))}
	for _, r := range records {
		for _, a := range r.Addresses {
			o.byAddr[a] = int32(len(o.all))
		}
		o.all = append(o.all, OwnerOf(r.Attachment))
	}
	return o
}

// WithSpoken returns owners that also have the connections with which masqd speaks for
// attachments. elements are of SpokenMap: see nft.HelperElements.
func (o *Owners) WithSpoken(elements []nft.HelperElement) *Owners {
	byIdentity := map[string]int32{}
	for i := range o.all {
		byIdentity[o.all[i].Key().Identity()] = int32(i)
	}
	out := &Owners{o.all, o.byAddr, map[speaker]int32{}}
	for _, e := range elements {
		if i, ok := byIdentity[e.Identity]; ok && e.Kind == ruleset.SpokenMap {
			out.spoken[speaker{e.Key.Addr, e.Key.Proto}] = i
		}
	}
	return out
}

// ClientOf returns the attachment for which masqd began a flow, or nil.
func (o *Owners) ClientOf(f *conntrack.Flow) *Owner {
	if i := o.ClientIndex(f); i >= 0 {
		return &o.all[i]
	}
	return nil
}

// ClientIndex returns the index of the attachment for which masqd began a flow, or -1.
func (o *Owners) ClientIndex(f *conntrack.Flow) int {
	if len(o.spoken) == 0 {
		return -1
	}
	t := &f.Original
	if i, ok := o.spoken[speaker{netip.AddrPortFrom(t.Src, t.SrcPort), t.Proto}]; ok {
		return int(i)
	}
	return -1
}

// IsClient reports whether masqd has begun a connection for the attachment with an index.
func (o *Owners) IsClient(i int) bool {
	for _, x := range o.spoken {
		if int(x) == i {
			return true
		}
	}
	return false
}

// Len returns the number of attachments.
func (o *Owners) Len() int { return len(o.all) }

// At returns the attachment with an index, which is the index of its record.
func (o *Owners) At(i int) *Owner { return &o.all[i] }

// Index returns the index of the attachment that has an address, or -1.
func (o *Owners) Index(a netip.Addr) int {
	if i, ok := o.byAddr[a]; ok {
		return int(i)
	}
	return -1
}

// Find returns the attachment that has an address, or nil.
func (o *Owners) Find(a netip.Addr) *Owner {
	if i, ok := o.byAddr[a]; ok {
		return &o.all[i]
	}
	return nil
}

// Indices returns the indices of the attachment that began a flow and of the attachment that
// it reached after translation. An index is -1 if the end is not an attachment.
func (o *Owners) Indices(f *conntrack.Flow) (from, to int) {
	return o.Index(f.Original.Src), o.Index(f.Reply.Src)
}

// FlowOf converts a flow of the kernel's flow table, with the attachments at its ends. A flow
// with which masqd speaks for an attachment is the attachment's, and has the helper "masqd".
func (o *Owners) FlowOf(f *conntrack.Flow, now time.Time) Flow {
	from, to := o.Ends(f)
	client := o.ClientOf(f)
	if client == nil {
		return FlowOf(f, from, to, now)
	}
	x := FlowOf(f, client, to, now)
	x.Helper = HelperOfMasqd
	return x
}

// HelperOfMasqd is Flow.Helper of a flow with which masqd speaks for an attachment.
const HelperOfMasqd = "masqd"

// Ends returns the attachments of Indices, or nil.
func (o *Owners) Ends(f *conntrack.Flow) (from, to *Owner) {
	return o.Find(f.Original.Src), o.Find(f.Reply.Src)
}
