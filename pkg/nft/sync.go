package nft

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// structureAttempts bounds how often SyncStructure plans again because of a conflict.
// Reading the structure takes a millisecond, so two conflicts in a row are unlikely.
const structureAttempts = 20

// SyncStructure makes the structure of the table the desired one, even while other
// programs change the elements of live sets. Its cost grows with the number of policies.
//
// It repairs faults that do not depend on attachments regardless of the generation. If two
// programs repair the same fault at the same time, only one of them succeeds: making the
// table or a chain fails if it exists, and a rule is deleted by its handle, which is never
// used again. An unchanged ruleset is needed only for objects that depend on policies, and
// for making the table again. If the ruleset keeps changing, the error is ErrConflict.
func (c *Conn) SyncStructure(d Desired) (r StructureResult, err error) {
	for range structureAttempts {
		again, failed := c.structureOnce(d, &r)
		if err = failed; err == nil && !again {
			return r, nil
		}
		var failedOp *opError
		raced := errors.Is(err, errStale) || errors.Is(err, errInterrupted) || errors.Is(err, ErrConflict) ||
			errors.As(err, &failedOp) && (errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOENT))
		if err != nil && !raced {
			return r, explain(err)
		}
		if errors.Is(err, ErrConflict) {
			return r, err // the caller has to read the attachments again
		}
	}
	if err != nil && !errors.Is(err, errStale) && !errors.Is(err, errInterrupted) {
		return r, explain(err)
	}
	return r, ErrConflict
}

// structureOnce makes one transaction. again says that another one is needed.
func (c *Conn) structureOnce(d Desired, r *StructureResult) (again bool, err error) {
	have, err := c.structure()
	if err != nil {
		return false, err
	}
	pending := contentsOf(d.Pending)
	if len(d.Table.Chains) == 0 {
		return false, c.deleteStructure(d, have, pending, r)
	}
	for _, s := range d.Table.Sets {
		if !s.Live {
			if err := c.read(s, have.sets[s.Name]); err != nil {
				return false, err
			}
		}
	}
	p, err := plan(d.Table, have, whole, pending)
	if err != nil {
		return false, err
	}
	part := false
	if p.fills() && d.Unfilled && !p.rebuilt {
		r.Unfilled = true
	} else if p.fills() {
		table := d.Complete()
		// The objects that translate are made first: the rest of a large table takes
		// longer.
		if part = !have.exists && liveElements(table) > liveAtOnce; part {
			table = table.Translation()
		}
		if p, err = plan(table, have, whole, pending); err != nil {
			return false, err
		}
	}
	doubtful := slices.ContainsFunc(p.ops, func(o op) bool { return o.doubtful })
	switch {
	case p.rebuilt:
		return false, c.commitPlan(p, have.generation, r)
	case !doubtful:
		return part, c.commitPlan(p, 0, r)
	case d.AsOf == have.generation:
		var err error
		if !d.Keep {
			err = c.commitPlan(p, have.generation, r)
			r.InUse = errors.Is(err, unix.EBUSY)
		}
		if d.Keep || r.InUse {
			// An element that refers to an unexpected object can be changed once the
			// desired object exists.
			p.keepUnexpected()
			err = c.commitPlan(p, have.generation, r)
		}
		if !errors.Is(err, errStale) {
			return part, err
		}
	}
	p.ops = slices.DeleteFunc(p.ops, func(o op) bool { return o.doubtful })
	p.changes = slices.DeleteFunc(p.changes, p.doubts)
	if err := c.commitPlan(p, 0, r); err != nil && !errors.Is(err, unix.ENOENT) || d.Keep || r.InUse {
		return part, err
	}
	return false, ErrConflict
}

// keepUnexpected drops from the plan the removal of unexpected objects that depend on
// policies.
func (p *planner) keepUnexpected() {
	p.ops = slices.DeleteFunc(p.ops, func(o op) bool { return o.doubtful && o.unexpected })
	p.changes = slices.DeleteFunc(p.changes, func(c Difference) bool { return c.Reason == masq.Unexpected && p.doubts(c) })
}

// doubts reports whether a difference may be due to attachments that were added or removed
// since the desired structure was made.
func (p *planner) doubts(c Difference) bool {
	switch {
	case !p.have.exists || c.Reason == masq.Changed || c.Kind == KindElement:
		return false
	case c.Kind == KindRule:
		return ruleset.RuleDependsOnPolicies(c.Parent, c.Object) ||
			c.Reason == masq.Missing && ruleset.ChainDependsOnPolicies(c.Parent) && p.have.chains[c.Parent] == nil
	case c.Kind == KindObject, c.Reason == masq.Unexpected:
		return true
	case c.Kind == KindSet:
		return ruleset.SetDependsOnPolicies(c.Object)
	}
	return c.Kind == KindChain && ruleset.ChainDependsOnPolicies(c.Object)
}

func (c *Conn) commitPlan(p *planner, guard uint32, r *StructureResult) error {
	if err := c.commitAlone(p.ops, guard); err != nil {
		r.Left = len(p.changes)
		return err
	}
	r.Left = 0
	r.Changes = append(r.Changes, p.changes...)
	r.Large = r.Large || isLarge(p.ops)
	return nil
}

// deleteStructure deletes the table if nothing needs it.
func (c *Conn) deleteStructure(d Desired, have *observed, pending contents, r *StructureResult) error {
	if !have.exists || len(pending) > 0 || d.Keep {
		return nil
	}
	if d.AsOf != have.generation {
		return ErrConflict
	}
	p := &planner{ops: []op{deleteTable()}, changes: []Difference{{Kind: KindTable, Reason: masq.Unexpected, Object: tableName}}}
	if err := c.commitPlan(p, have.generation, r); errors.Is(err, errStale) {
		return ErrConflict
	} else if err != nil {
		return err
	}
	return nil
}

// liveAtOnce is the largest number of elements with which a missing table is made in one
// transaction.
const liveAtOnce = 500

func liveElements(t ruleset.Table) (n int) {
	for _, s := range t.Sets {
		if s.Live {
			n += len(s.Elements)
		}
	}
	return n
}

// fills reports whether the plan makes a live set.
func (p *planner) fills() bool {
	return slices.ContainsFunc(p.changes, func(c Difference) bool {
		if c.Kind == KindSet && c.Reason == masq.Missing {
			_, live := ruleset.LiveSet(c.Object)
			return live
		}
		return c.Kind == KindTable && c.Reason == masq.Missing
	}) || p.rebuilt
}
