package nft

import (
	"errors"
	"maps"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Structure is the state of the table without its attachments.
type Structure struct {
	// Owner is the program that owns the table, or nil.
	Owner *OwnerError
	// Exists reports whether the table exists.
	Exists bool
	// InUse reports whether an element of an attachment leads to a policy.
	InUse bool
	// Faults are the differences of rules, chains and sets that all policies share, and
	// policies in use that have no rules.
	Faults []Difference
}

// Structure reads and compares the part of the table that does not grow with the number of
// attachments. It does not compare objects that only some tables have, such as a policy's
// rules.
func (c *Conn) Structure() (Structure, error) {
	var out Structure
	err := retry(func() error {
		out = Structure{}
		have, err := c.structure()
		if err != nil || !have.exists {
			return err
		}
		out.Exists = true
		if have.owner != 0 {
			out.Owner = ownerError(ruleset.Name, have.owner, nil)
			return nil
		}
		want := ruleset.For(nil, ruleset.Sources{}, ruleset.Egress{Reserved: have.reserved})
		for _, s := range want.Sets {
			if s.Live {
				continue
			}
			if err := c.read(s, have.sets[s.Name]); err != nil {
				return err
			}
		}
		p, err := plan(want, have, part, nil)
		if err != nil && !errors.Is(err, errRebuild) {
			return err
		}
		out.Faults = p.changes
		for _, name := range slices.Sorted(maps.Keys(have.chains)) {
			ch := have.chains[name]
			if _, ofPolicy := ruleset.ParsePolicyChain(name); !ofPolicy || int(ch.uses) <= len(ch.rules) {
				continue
			}
			out.InUse = true
			if len(ch.rules) == 0 {
				out.Faults = append(out.Faults, Difference{Kind: KindChain, Reason: masq.Changed, Object: name, Detail: "has no rules"})
			}
		}
		return nil
	})
	return out, explain(err)
}
