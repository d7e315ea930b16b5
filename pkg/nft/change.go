package nft

import "fmt"

// Kind is the kind of a Change's object.
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

// Reason is why an object differs from the desired one.
type Reason uint8

// The reasons of a Change.
const (
	Missing Reason = iota + 1
	Changed
	Unexpected
)

// String is one word, for output.
func (r Reason) String() string {
	switch r {
	case Missing:
		return "missing"
	case Changed:
		return "changed"
	case Unexpected:
		return "unexpected"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Change is one difference between the desired ruleset and the one in the kernel.
type Change struct {
	Kind   Kind
	Reason Reason
	// Parent is the chain of a rule and the set of an element, and empty for all else.
	Parent string
	// Name is the object's name, the ID of a rule, or the key of an element. It is
	// empty for the elements of an interval set, which are compared and replaced
	// together.
	Name string
	// Detail says how a Changed object differs and which rule an Unexpected one is. It
	// may be empty.
	Detail string
}

// Object names the object in one text: "policy4 10.88.0.5" for an element of a set.
func (c Change) Object() string {
	switch {
	case c.Parent == "":
		return c.Name
	case c.Kind == KindRule && c.Reason == Unexpected: // its comment, whoever wrote it
		return fmt.Sprintf("%s %q", c.Parent, c.Name)
	case c.Name == "":
		return c.Parent
	}
	return c.Parent + " " + c.Name
}

// Found describes the difference in words, for output.
func (c Change) Found() string {
	switch {
	case c.Reason == Changed && c.Detail != "":
		return c.Detail
	case c.Reason == Unexpected:
		word := "foreign"
		if c.Kind != KindRule && c.Kind != KindElement {
			word = "surplus"
		}
		if c.Detail != "" {
			word += ", " + c.Detail
		}
		return word
	}
	return c.Reason.String()
}

// String is the change in one line.
func (c Change) String() string { return string(c.Kind) + " " + c.Object() + ": " + c.Found() }
