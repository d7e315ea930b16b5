package report

import (
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Change is a difference between the observed and the desired state of an object.
type Change struct {
	// Kind is the kind of the object: table, chain, rule, set or element; for a link:
	// interface, state, mtu, route, address, neighbor, setting and others.
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Found string `json:"found"`
	// Attachment is the identity of the attachment that needs the object. It is empty if
	// several attachments or none need it.
	Attachment string `json:"attachment,omitempty"`
	// Pod is the pod of Attachment, or the beginning of its container ID.
	Pod string `json:"pod,omitempty"`
}

// ChangesOf converts differences. owners has their pods, and may be nil.
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

// pods returns the pods of attachments by identity.
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

// LinksState is the result of comparing links with their state after ADD.
type LinksState struct {
	Compared    int `json:"compared"`    // number of links
	Differences int `json:"differences"` // number of objects; inspect drift lists them
	// NotChecked is the number of links whose end in the container was not compared.
	NotChecked int `json:"notChecked"`
	// First is the first difference.
	First string `json:"first,omitempty"`
}
