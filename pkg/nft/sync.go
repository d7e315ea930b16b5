package nft

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// ErrConflict says that others changed the ruleset meanwhile, so that something
// could not be done or could not be judged. What was certain has been done. Try again.
var ErrConflict = errors.New("the ruleset was changed by another program meanwhile")

// ErrStructure says that the chain or the set of an element is missing: compare the
// structure first.
var ErrStructure = errors.New("a chain or a set is missing")

// Desired is what the structure of the table should be: everything but the elements of
// live sets.
type Desired struct {
	// Table is the structure. An empty one is none: the table is deleted.
	Table ruleset.Table
	// Pending is the structure that attachments need that the plugin is adding or
	// removing: it is neither missing nor unexpected.
	Pending ruleset.Table
	// AsOf is a generation of the ruleset whose attachments are all known to Table and
	// Pending. If the kernel's generation is later, objects that come and go with the
	// attachments of a policy are left unchanged.
	AsOf uint32
	// Keep leaves unexpected chains, sets and objects where they are: attachments may need
	// them whose records cannot be read.
	Keep bool
	// Unfilled has missing live sets made without elements: the caller adds them afterwards,
	// in parts. It is for nodes with so many attachments that one transaction would take
	// too much memory.
	Unfilled bool
	// Complete returns Table with all elements. It is called where a live set, or the
	// table, has to be made.
	Complete func() ruleset.Table
}

// StructureResult is what SyncStructure did.
type StructureResult struct {
	Changes []Difference
	// Large says that a transaction was so large that the Watcher missed concurrent
	// changes by other programs.
	Large bool
	// Left is the number of differences that remain because of the error.
	Left int
	// Unfilled says that live sets were made, or were to be made, without their elements.
	Unfilled bool
	// InUse says that something unexpected stayed because elements refer to it.
	InUse bool
}

// structureAttempts bounds how often SyncStructure plans again because of a conflict. What
// it reads takes a millisecond, so a conflict is unlikely twice in a row.
const structureAttempts = 20

// SyncStructure makes the structure of the table the desired one, even while other
// programs change the elements of live sets. Its cost follows the number of policies.
//
// It repairs definite faults regardless of the generation. Two programs that repair the
// same fault at the same time do not do it twice: the table and each chain are made
// exclusively, and a rule is deleted by its handle, which is never used again. Only
// objects that come and go with the attachments of a policy, and a table that has to be
// made again, need a ruleset that has not changed. If it keeps changing, the error is
// ErrConflict.
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
			return r, err // the caller has to ask for the attachments again
		}
	}
	if err != nil && !errors.Is(err, errStale) && !errors.Is(err, errInterrupted) {
		return r, explain(err)
	}
	return r, ErrConflict
}

// structureOnce does what can be done at once; again says that there is more.
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
		// What translates comes first: the rest of a large table takes longer.
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
			// Elements that refer to something unexpected can move once there is what they
			// are to refer to.
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

// keepUnexpected takes the removal of objects that come and go with the attachments of a
// policy out of a plan.
func (p *planner) keepUnexpected() {
	p.ops = slices.DeleteFunc(p.ops, func(o op) bool { return o.doubtful && o.unexpected })
	p.changes = slices.DeleteFunc(p.changes, func(c Difference) bool { return c.Reason == masq.Unexpected && p.doubts(c) })
}

// doubts reports whether a difference may be none, because attachments have come or gone
// since the desired structure was made.
func (p *planner) doubts(c Difference) bool {
	switch {
	case !p.have.exists || c.Reason == masq.Changed || c.Kind == KindElement:
		return false
	case c.Kind == KindRule:
		return ruleset.RuleComesAndGoes(c.Parent, c.Object) ||
			c.Reason == masq.Missing && ruleset.ChainComesAndGoes(c.Parent) && p.have.chains[c.Parent] == nil
	case c.Kind == KindObject, c.Reason == masq.Unexpected:
		return true
	case c.Kind == KindSet:
		return ruleset.SetComesAndGoes(c.Object)
	}
	return c.Kind == KindChain && ruleset.ChainComesAndGoes(c.Object)
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

// deleteStructure deletes the table where nothing needs it.
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

// liveAtOnce is the number of elements up to which a missing table is made in one
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

// Scan compares the elements of live sets with the desired ones, and returns how they
// differ. Sets that are missing are left out. complete is false where a set changed
// under each of several readings: what is returned then may be wrong, and something may
// be left out. Ask for each element before you change it.
func (c *Conn) Scan(want ruleset.Table) (changes []Difference, complete bool, err error) {
	complete = true
	for _, s := range want.Sets {
		if !s.Live {
			continue
		}
		found, held, err := c.scan(s)
		if err != nil {
			return nil, false, explain(err)
		}
		changes, complete = append(changes, found...), complete && held
	}
	return changes, complete, nil
}

func (c *Conn) scan(s ruleset.Set) (changes []Difference, complete bool, err error) {
	have := &set{}
	if err = c.compareElements(s, have); err != nil && !errors.Is(err, errInterrupted) {
		return nil, false, err
	}
	if have.setDifference == nil {
		return nil, err == nil, nil
	}
	p := &planner{have: &observed{exists: true, sets: map[string]*set{s.Name: have}}}
	if failed := p.keys(s, have.setDifference); failed != nil {
		return nil, false, failed
	}
	return p.changes, err == nil, nil
}

// Element reads one element of a live set; found is false where it, or its set, is not
// there.
func (c *Conn) Element(set, key string) (e ruleset.LiveElement, found bool, err error) {
	s, ok := ruleset.LiveSet(set)
	if !ok {
		return e, false, fmt.Errorf("nftables: %q is not the name of a live set", set)
	}
	x, found, err := c.element(set, s.Type, key)
	if err != nil || !found {
		return e, false, explain(err)
	}
	return x.in(set, key), true, nil
}

// Edit adds elements to live sets and removes others in one transaction, removals
// first. It is no error if an element to add already exists and goes to the same chain,
// or if an element to remove is missing. With a generation other than 0, the ruleset
// must still be of that generation: ErrConflict otherwise. A missing chain or set is
// ErrStructure. Another element in the place of an added one is ErrConflict. large says
// that the Watcher missed concurrent changes by other programs.
func (c *Conn) Edit(add, remove []ruleset.LiveElement, generation uint32) (large bool, err error) {
	var ops []op
	for _, part := range []struct {
		all []ruleset.LiveElement
		ops func(ruleset.Set, []ruleset.Element) ([]op, error)
	}{
		{remove, deleteElements},
		{add, func(s ruleset.Set, all []ruleset.Element) ([]op, error) { return addElements(s, all, false) }},
	} {
		bySet := map[string][]ruleset.Element{}
		var names []string
		for _, e := range part.all {
			if bySet[e.Set] == nil {
				names = append(names, e.Set)
			}
			bySet[e.Set] = append(bySet[e.Set], e.Element)
		}
		for _, name := range names {
			s, ok := ruleset.LiveSet(name)
			if !ok {
				return false, fmt.Errorf("nftables: %q is not the name of a live set", name)
			}
			more, err := part.ops(s, bySet[name])
			if err != nil {
				return false, err
			}
			ops = append(ops, more...)
		}
	}
	err = c.commitAlone(ops, generation)
	switch {
	case errors.Is(err, errStale), errors.Is(err, unix.EEXIST), errors.Is(err, unix.EBUSY):
		return false, ErrConflict
	case errors.Is(err, unix.ENOENT):
		return false, ErrStructure
	}
	return isLarge(ops), explain(err)
}
