package report

import (
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Change is one difference between the kernel and what ADD and the node's policy ask for.
type Change struct {
	// Kind is the kind of the object: table, chain, rule, set or element; for a link:
	// interface, state, mtu, route, address, neighbor, setting and others.
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Found string `json:"found"`
	// Attachment is the identity of the attachment that needs the object; empty where it
	// is not one attachment's.
	Attachment string `json:"attachment,omitempty"`
	// Pod is that attachment's pod, or the beginning of its container's ID.
	Pod string `json:"pod,omitempty"`
}

// ChangesOf describes differences. The owners give the pods, and may be nil.
func ChangesOf(all []compare.Difference, owners *Owners) []Change {
	out := []Change{}
	var pods map[string]string
	for _, d := range all {
		if pods == nil {
			pods = owners.pods()
		}
		out = append(out, Change{Kind: d.Kind, Name: d.Name, Found: d.Found, Attachment: d.Identity, Pod: pods[d.Identity]})
	}
	return out
}

// pods returns the pods of attachments, by identity.
func (o *Owners) pods() map[string]string {
	out := map[string]string{}
	if o == nil {
		return out
	}
	for i := range o.all {
		x := &o.all[i]
		out[masq.Key{Network: x.Network, ContainerID: x.ContainerID, Interface: x.Interface}.Identity()] = x.Pod()
	}
	return out
}

// LinksState is how the links that the plugin made compare with what it made.
type LinksState struct {
	Compared    int `json:"compared"`    // links
	Differences int `json:"differences"` // objects; inspect drift lists them
	// NotChecked is how many containers' ends were not compared.
	NotChecked int `json:"notChecked"`
	// First is one of the differences, in a line.
	First string `json:"first,omitempty"`
}
