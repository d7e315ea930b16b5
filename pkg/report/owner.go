package report

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Owner names an attachment. The pod is empty where no Kubernetes runtime made it.
type Owner struct {
	Network      string `json:"network"`
	ContainerID  string `json:"containerID"`
	Interface    string `json:"interface"`
	PodNamespace string `json:"podNamespace"`
	PodName      string `json:"podName"`
}

// OwnerOf names an attachment.
func OwnerOf(a masq.Attachment) Owner {
	return Owner{a.Network, a.ContainerID, a.Interface, a.Namespace, a.Name}
}

// Key is the attachment's key.
func (o Owner) Key() masq.Key {
	return masq.Key{Network: o.Network, ContainerID: o.ContainerID, Interface: o.Interface}
}

// Pod is the pod as "namespace/name", or, where there is none, the beginning of the
// container's ID. It is text from outside: Clean it for a terminal.
func (o Owner) Pod() string {
	switch {
	case o.PodName != "":
		return o.PodNamespace + "/" + o.PodName
	case len(o.ContainerID) > shortID:
		return o.ContainerID[:shortID]
	}
	return o.ContainerID
}

// shortID is how much of a container's ID people are shown, as crictl does it.
const shortID = 13

// Owners finds attachments by their addresses. It is read by any number of
// goroutines, and takes memory for each address of an attachment, none for a flow.
type Owners struct {
	all    []Owner
	byAddr map[netip.Addr]int32
}

// OwnersOf takes the attachments of records, those that are being added or removed
// among them, in the order of store.Sort: where two claim one address, the later
// has it.
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

// Len is the number of attachments.
func (o *Owners) Len() int { return len(o.all) }

// At is the attachment with an index below Len: that of its record.
func (o *Owners) At(i int) *Owner { return &o.all[i] }

// Index is the index of the attachment that has an address, -1 where none has.
func (o *Owners) Index(a netip.Addr) int {
	if i, ok := o.byAddr[a]; ok {
		return int(i)
	}
	return -1
}

// Find is the attachment that has an address, nil where none has.
func (o *Owners) Find(a netip.Addr) *Owner {
	if i, ok := o.byAddr[a]; ok {
		return &o.all[i]
	}
	return nil
}

// Indices are those of the attachments at both ends of a flow: the one that began
// it, and the one that it reached, whatever destination was asked for. They are -1
// where no attachment has the address.
func (o *Owners) Indices(f *conntrack.Flow) (from, to int) {
	return o.Index(f.Original.Src), o.Index(f.Reply.Src)
}

// Ends are the attachments at both ends of a flow, as Indices has them.
func (o *Owners) Ends(f *conntrack.Flow) (from, to *Owner) {
	return o.Find(f.Original.Src), o.Find(f.Reply.Src)
}
