package nft

import (
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Kind is the kind of a Difference's object.
type Kind string

// The kinds of objects in the table.
const (
	KindTable   Kind = "table"
	KindObject  Kind = "object" // a conntrack helper
	KindSet     Kind = "set"
	KindChain   Kind = "chain"
	KindRule    Kind = "rule"
	KindElement Kind = "element"
)

// Difference is one difference between the desired ruleset and the kernel's.
type Difference struct {
	Kind   Kind
	Reason masq.Reason
	// Parent is the chain of a rule or the set of an element, and otherwise empty.
	Parent string
	// Object is the object's name, the ID of a rule, or the key of an element. It is
	// empty for the elements of an interval set, which are compared and replaced
	// together.
	Object string
	// Detail says how a Changed object differs. It may be empty.
	Detail string
	// Handle is the handle of an Unexpected rule, and otherwise 0.
	Handle uint64
}

// ChangedElement returns the difference for an element of a live set that exists and is
// not the desired one.
func ChangedElement(e ruleset.LiveElement) Difference {
	return Difference{Kind: KindElement, Reason: masq.Changed, Parent: e.Set, Object: e.Key, Detail: fmt.Sprintf("has chain %q and comment %q", e.Goto, e.Comment)}
}

// Name names the object and its parent: "policy4 10.88.0.5" for an element of a set. An
// Unexpected rule without a comment has its handle as the name: "forward handle 9".
func (d Difference) Name() string {
	switch {
	case d.Parent == "":
		return d.Object
	case d.Kind == KindRule && d.Reason == masq.Unexpected && d.Object == "":
		return fmt.Sprintf("%s handle %d", d.Parent, d.Handle)
	case d.Kind == KindRule && d.Reason == masq.Unexpected: // a comment that any program may have written
		return fmt.Sprintf("%s %q", d.Parent, d.Object)
	case d.Object == "":
		return d.Parent
	}
	return d.Parent + " " + d.Object
}

// Found describes the difference in words, for output after Name.
func (d Difference) Found() string {
	switch {
	case d.Reason == masq.Changed && d.Detail != "":
		return d.Detail
	case d.Kind == KindRule && d.Reason == masq.Unexpected && d.Object != "": // otherwise Name has the handle
		return fmt.Sprintf("%s, handle %d", d.Reason, d.Handle)
	}
	return d.Reason.String()
}

// String returns the difference in one line.
func (d Difference) String() string { return string(d.Kind) + " " + d.Name() + ": " + d.Found() }
