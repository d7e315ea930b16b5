package report

import (
	"fmt"
	"slices"

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
	// Forwarding is true if the object is a setting that enables forwarding.
	Forwarding bool `json:"-"`
}

// ChangesOf converts differences. owners has their pods, and may be nil.
func ChangesOf(all []compare.Difference, owners *Owners) []Change {
	out := []Change{}
	var pods map[string]string
	for _, d := range all {
		if pods == nil {
			pods = owners.pods()
		}
		out = append(out, Change{Kind: d.Kind, Name: d.Name, Found: d.Found, Attachment: d.Identity, Pod: pods[d.Identity], Forwarding: d.Forwarding})
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
	// Changes are all differences.
	Changes []Change `json:"-"`
}

// LinksStateOf returns the state of links with these differences.
func LinksStateOf(compared, notChecked int, changes []Change) *LinksState {
	l := &LinksState{Compared: compared, NotChecked: notChecked}
	l.set(changes)
	return l
}

// set replaces the differences.
func (l *LinksState) set(changes []Change) {
	l.Differences, l.First, l.Changes = len(changes), "", changes
	if len(changes) == 0 {
		return
	}
	first := changes[0]
	l.First = fmt.Sprintf("%s %s: %s", first.Kind, first.Name, first.Found)
	if first.Pod != "" {
		l.First = first.Pod + ": " + l.First
	}
}

// Problem returns the problem of the differences, of which there is at least one.
func (l *LinksState) Problem() Problem {
	c := Cause{
		Evidence: evidenceOf(l.Changes),
		Remedy:   Remedy{Text: "masq-cni inspect drift lists them; masqd restores the node's ends; recreate the pod to restore the end in the container"},
	}
	for _, x := range l.Changes {
		if x.Attachment == "" { // the node's own
			c.Attachments = nil
			break
		}
		if !slices.Contains(c.Attachments, x.Attachment) {
			c.Attachments = append(c.Attachments, x.Attachment)
		}
	}
	return NewProblem(
		SeverityError, KindLinkDrift, "links of containers",
		fmt.Sprintf("differ from what ADD made in %s, the first: %s", Plural(l.Differences, "place"), l.First), c,
	)
}

// evidenceOf returns the first changes as evidence.
func evidenceOf(changes []Change) (out []Evidence) {
	for _, x := range changes[:min(len(changes), maxEvidence)] {
		e := Evidence{Source: x.Kind + " " + x.Name, Value: x.Found}
		if x.Pod != "" {
			e.Source += " of " + x.Pod
		}
		out = append(out, e)
	}
	return out
}
