package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Add adds the elements of an attachment, and with them puts it under its policy. It also
// adds the rules that the attachment needs and that are missing. has reports whether the
// node has an address that a policy names as an egress address. all returns every attachment
// of the node, including a. It is called only if the whole table or the chains of other
// policies have to be made again.
//
// If another attachment has elements for one of a's addresses, Add calls replace with its
// identity. If replace returns nil or is nil, Add replaces the elements; otherwise Add
// returns replace's error unchanged. replace is not called if Add makes the whole table
// from the result of all.
func (c *Conn) Add(a masq.Attachment, has func(netip.Addr) (bool, error), all func() ([]masq.Attachment, error), replace func(identity string) error) error {
	var services []masq.PortRange
	if c.Services != nil {
		var err error
		if services, err = c.Services(); err != nil {
			return err
		}
	}
	taken := false
	var refused error // error of all or replace, which is returned unchanged
	wholeTable := func(reserved []masq.PortRange) (t ruleset.Table, err error) {
		attachments, err := all()
		if err == nil {
			t, err = tableOf(attachments, has, reserved)
		}
		refused = err
		return t, err
	}
	err := retry(func() error {
		have, err := c.structure()
		if err != nil {
			return err
		}
		reserved, grown := reserve(have, services)
		want, err := tableOf([]masq.Attachment{a}, has, reserved)
		if err != nil {
			return err
		}
		rules := want
		if grown {
			table, err := wholeTable(reserved)
			if err != nil {
				return err
			}
			rules = withPolicies(want, table, have)
		}
		p, err := plan(rules, have, part, nil)
		if !have.exists || errors.Is(err, errRebuild) {
			// The records are read after the rules. If another program adds an attachment
			// after this, its transaction makes or changes the table, and this one is
			// refused.
			table, err := wholeTable(reserved)
			if err != nil {
				return err
			}
			p, err := plan(table, have, whole, nil)
			if err != nil {
				return err
			}
			guard := have.generation
			if !have.exists {
				guard = 0 // making the table fails if it exists
			}
			return exclusively(c.commit(p.ops, guard))
		}
		if err != nil {
			return err
		}
		// No generation is needed to add a policy: making a chain fails if it exists, and
		// adding a set or a helper that exists changes nothing.
		ops, guard := p.ops, uint32(0)
		if p.edits || taken {
			guard = have.generation
		}
		if taken {
			others, err := c.evict(a, have)
			if err != nil {
				return err
			}
			ops = append(ops, others...)
		}
		for _, s := range want.Sets {
			if !s.Live || len(s.Elements) == 0 {
				continue
			}
			// A verdict element must not exist yet: the kernel would keep its comment, and
			// with it its attachment, without an error.
			add, err := addElements(s, s.Elements, s.Verdict && !taken)
			if err != nil {
				return err
			}
			ops = append(ops, add...)
		}
		err = exclusively(c.commit(ops, guard))
		switch {
		case errors.Is(err, unix.EEXIST) && !taken:
			if refused = c.callReplace(a, replace); refused != nil {
				return refused
			}
			taken = true
			return errStale
		case errors.Is(err, unix.ENOENT) && guard == 0:
			return errStale // a chain was deleted after it was read
		}
		return err
	})
	if refused != nil {
		return refused
	}
	return explain(err)
}

// exclusively returns errStale if err means that another program has made the table or a
// chain since it was read.
func exclusively(err error) error {
	var failed *opError
	if errors.As(err, &failed) && errors.Is(err, unix.EEXIST) && (failed.op.typ == unix.NFT_MSG_NEWTABLE || failed.op.typ == unix.NFT_MSG_NEWCHAIN) {
		return errStale
	}
	return err
}

// callReplace calls replace with the identity of each other attachment that has elements
// for the addresses of a.
func (c *Conn) callReplace(a masq.Attachment, replace func(identity string) error) error {
	if replace == nil {
		return nil
	}
	others, err := c.Holders(a)
	if err != nil {
		return err
	}
	for _, identity := range others {
		if err := replace(identity); err != nil {
			return err
		}
	}
	return nil
}

// Holders returns the identities of the other attachments that have elements for the
// addresses of a. Its cost grows with the number of these addresses.
func (c *Conn) Holders(a masq.Attachment) ([]string, error) {
	var out []string
	for _, addr := range a.Addresses {
		set := ruleset.SetName{Kind: ruleset.PolicySet, Family: masq.FamilyOf(addr)}.Set()
		x, found, err := c.element(set.Name, set.Type, addr.String())
		if err != nil {
			return nil, explain(fmt.Errorf("read element %s of %s: %w", addr, set.Name, err))
		}
		if found && x.comment != a.Identity() && !slices.Contains(out, x.comment) {
			out = append(out, x.comment)
		}
	}
	return out, nil
}

// evict returns the messages that delete the elements of all attachments for the addresses
// of a.
func (c *Conn) evict(a masq.Attachment, have *observed) ([]op, error) {
	var out []op
	for _, addr := range a.Addresses {
		ops, err := c.deleteAddress(addr, have, removedElements{})
		if err != nil {
			return nil, err
		}
		out = append(out, ops...)
	}
	return out, nil
}

// tableOf returns the ruleset for attachments, with the egress addresses that the node has
// now.
func tableOf(attachments []masq.Attachment, has func(netip.Addr) (bool, error), reserved []masq.PortRange) (ruleset.Table, error) {
	egress, err := ruleset.EgressOf(ruleset.NamedEgress(attachments, ruleset.Sources{}), has)
	if err != nil {
		return ruleset.Table{}, err
	}
	egress.Reserved = reserved
	return ruleset.For(attachments, ruleset.Sources{}, egress), nil
}
