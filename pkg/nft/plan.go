package nft

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// tableName is how output names the table.
const tableName = ruleset.Family + " " + ruleset.Name

// errRebuild says that something is there that cannot be changed in place.
var errRebuild = errors.New("the table has to be built anew")

// scope says how much of the wanted ruleset is known to the one who plans.
type scope int

const (
	// whole: what is not wanted has to go.
	whole scope = iota
	// part: what is wanted for some attachments. Others may need what else there is.
	part
)

type planner struct {
	want    ruleset.Table
	pending contents // of attachments that the plugin is adding or removing
	have    *observed
	scope   scope
	ops     []op
	changes []Difference
	setID   uint32
	rebuilt bool // the table is deleted and made again
	// edits says that rules are added to a chain that is there: if another program does the
	// same at once, they are there twice.
	edits bool
}

// plan compares and returns the messages that make the kernel have what is wanted.
// Sets whose elements were not read keep theirs.
func plan(want ruleset.Table, have *observed, s scope, pending contents) (*planner, error) {
	p := &planner{want: want, have: have, scope: s, pending: pending}
	err := p.compare()
	if !errors.Is(err, errRebuild) || s == part {
		return p, err
	}
	// Deleted and made again within one transaction, so that no packet meets the
	// time between.
	again := &planner{want: want, have: &observed{generation: have.generation}, changes: p.changes, ops: []op{deleteTable()}, rebuilt: true}
	again.ops[0].optional = false
	known := len(p.changes)
	err = again.compare()
	again.changes = again.changes[:known]
	return again, err
}

func (p *planner) found(c Difference) { p.changes = append(p.changes, c) }

// changed notes that an object is there, and how it differs.
func (p *planner) changed(k Kind, name, format string, args ...any) {
	p.found(Difference{Kind: k, Reason: masq.Changed, Object: name, Detail: fmt.Sprintf(format, args...)})
}

func (p *planner) compare() error {
	switch {
	case !p.have.exists:
		p.found(Difference{Kind: KindTable, Reason: masq.Missing, Object: tableName})
		o := addTable()
		o.flags |= unix.NLM_F_EXCL // two that make the table would make each rule twice
		p.ops = append(p.ops, o)
	case p.have.flags != 0:
		p.changed(KindTable, tableName, "flags %#x where there should be none", p.have.flags)
		// The kernel lets no other flag be taken off, and lets no dormant table be woken
		// and given another base chain in one transaction (EEXIST).
		if p.have.flags != unix.NFT_TABLE_F_DORMANT || !p.hasBaseChains() {
			return errRebuild
		}
		p.ops = append(p.ops, addTable())
	}
	for _, step := range []func() error{p.objects, p.sets, p.chains, p.rules, p.elements, p.unexpected} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// hasBaseChains reports whether every base chain that is desired exists.
func (p *planner) hasBaseChains() bool {
	return !slices.ContainsFunc(p.want.Chains, func(c ruleset.Chain) bool { return c.Hook != nil && p.have.chains[c.Name] == nil })
}

func (p *planner) objects() error {
	for _, o := range p.want.Objects {
		have, ok := p.have.objects[o.Name]
		if !ok {
			p.found(Difference{Kind: KindObject, Reason: masq.Missing, Object: o.Name})
			p.do(addObject(o), true)
			continue
		}
		if have.kind != unix.NFT_OBJECT_CT_HELPER || have.kernel != o.Kernel || have.protocol != helperProtocols[o.Protocol] || have.l3 != l3Of(o) {
			p.changed(KindObject, o.Name, "is helper %q of protocol %d, family %d", have.kernel, have.protocol, have.l3)
			return errRebuild
		}
	}
	return nil
}

func (p *planner) sets() error {
	for _, s := range p.want.Sets {
		sig, err := signatureOf(s)
		if err != nil {
			return err
		}
		have, ok := p.have.sets[s.Name]
		switch {
		case !ok:
			p.found(Difference{Kind: KindSet, Reason: masq.Missing, Object: s.Name})
			p.setID++
			o, err := addSet(s, p.setID)
			if err != nil {
				return err
			}
			p.do(o, ruleset.SetComesAndGoes(s.Name))
		case have.signature != sig:
			p.changed(KindSet, s.Name, "is of another type or has other flags: %+v", have.signature)
			return errRebuild
		}
	}
	return nil
}

func (p *planner) chains() error {
	for _, c := range p.want.Chains {
		have, ok := p.have.chains[c.Name]
		if !ok {
			p.found(Difference{Kind: KindChain, Reason: masq.Missing, Object: c.Name})
			o := addChain(c)
			o.flags |= unix.NLM_F_EXCL // its rules come after it
			p.do(o, ruleset.ChainComesAndGoes(c.Name))
			continue
		}
		if have.base != (c.Hook != nil) {
			p.changed(KindChain, c.Name, "base chain: %t", have.base)
			return errRebuild
		}
		if h := c.Hook; h != nil {
			if have.kind != h.Type || have.hook != hooks[h.Point] || have.priority != priorities[h.Priority] {
				p.changed(KindChain, c.Name, "is of type %s at hook %d, priority %d", have.kind, have.hook, have.priority)
				return errRebuild
			}
			if have.policy != nfAccept {
				p.changed(KindChain, c.Name, "its policy is not accept")
				p.ops = append(p.ops, addChain(c))
			}
		}
	}
	return nil
}

func (p *planner) rules() error {
	for _, c := range p.want.Chains {
		var have []rule
		if x := p.have.chains[c.Name]; x != nil {
			have = x.rules
		}
		if err := p.edit(c, have); err != nil {
			return err
		}
	}
	return nil
}

// do adds a message to the plan. It is doubtful if it is about something that comes and
// goes with a policy's attachments.
func (p *planner) do(o op, doubtful bool) {
	o.doubtful = doubtful && p.have.exists
	p.ops = append(p.ops, o)
}

// edit turns the rules that a chain has into those that it should have, keeping
// each that is right, and with it its counter.
func (p *planner) edit(c ruleset.Chain, have []rule) error {
	prints := make([]string, len(c.Rules))
	ids := map[string]bool{}
	for i, r := range c.Rules {
		all, err := compile(r.Text)
		if err != nil {
			return err
		}
		prints[i] = r.ID + "\n" + fingerprint(all)
		ids[r.ID] = true
	}
	have = slices.DeleteFunc(slices.Clone(have), func(r rule) bool {
		return !ids[r.id] && (p.scope == part && ruleset.RuleMayBeOfOthers(c.Name, r.id) || p.pending[ref{KindRule, c.Name, r.id}])
	})
	haves := make([]string, len(have))
	for i, r := range have {
		haves[i] = r.id + "\n" + r.print
	}
	kept := common(prints, haves)
	isKept := map[int]bool{}
	for _, h := range kept {
		if h >= 0 {
			isKept[h] = true
		}
	}
	wrong := map[string]rule{}
	for i, r := range have {
		if isKept[i] {
			continue
		}
		switch {
		case ids[r.id]:
			wrong[r.id] = r
			p.found(Difference{Kind: KindRule, Reason: masq.Changed, Parent: c.Name, Object: r.id, Detail: "changed or out of place"})
		default:
			p.found(Difference{Kind: KindRule, Reason: masq.Unexpected, Parent: c.Name, Object: r.id, Detail: fmt.Sprintf("handle %d", r.handle)})
		}
		o := deleteRule(c.Name, r.handle)
		o.unexpected = !ids[r.id]
		p.do(o, !ids[r.id] && ruleset.RuleComesAndGoes(c.Name, r.id))
	}
	for i, r := range c.Rules {
		if kept[i] >= 0 {
			continue
		}
		was, replaced := wrong[r.ID]
		if !replaced {
			p.found(Difference{Kind: KindRule, Reason: masq.Missing, Parent: c.Name, Object: r.ID})
		}
		var before uint64
		for _, h := range kept[i:] {
			if h >= 0 {
				before = have[h].handle
				break
			}
		}
		o, err := addRule(c.Name, r, before, was.count)
		if err != nil {
			return err
		}
		p.edits = p.edits || p.have.chains[c.Name] != nil
		p.do(o, !replaced && ruleset.RuleComesAndGoes(c.Name, r.ID) || p.have.chains[c.Name] == nil && ruleset.ChainComesAndGoes(c.Name))
	}
	return nil
}

// common returns for each text of a the index of its partner in the longest common
// subsequence of a and b, or -1.
func common(a, b []string) []int {
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := range slices.Backward(a) {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	out := make([]int, len(a))
	for i, j := 0, 0; i < len(a); {
		switch {
		case j < len(b) && a[i] == b[j]:
			out[i] = j
			i, j = i+1, j+1
		case j < len(b) && length[i][j+1] >= length[i+1][j]:
			j++
		default:
			out[i] = -1
			i++
		}
	}
	return out
}

func (p *planner) elements() error {
	for _, s := range p.want.Sets {
		if s.Live && p.scope == part {
			continue // one by one, by who adds and removes them
		}
		have := p.have.sets[s.Name]
		var err error
		switch {
		case have == nil:
			err = p.fill(s, s.Elements)
		case s.Interval && have.bounds != nil:
			err = p.intervals(s, have.bounds)
		case have.setDifference != nil:
			err = p.keys(s, have.setDifference)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) fill(s ruleset.Set, all []ruleset.Element) error {
	ops, err := addElements(s, all, false)
	for _, o := range ops {
		p.do(o, p.have.sets[s.Name] == nil && ruleset.SetComesAndGoes(s.Name))
	}
	return err
}

func (p *planner) intervals(s ruleset.Set, have []bound) error {
	want, err := boundsOf(s, s.Elements)
	if err != nil {
		return err
	}
	if equalBounds(inOrder(want), have) {
		return nil
	}
	p.found(Difference{Kind: KindElement, Reason: masq.Changed, Parent: s.Name, Detail: "other ranges than asked for"})
	p.ops = append(p.ops, flushSet(s.Name))
	return p.fill(s, s.Elements)
}

func (p *planner) keys(s ruleset.Set, d *setDifference) error {
	var add, remove []ruleset.Element
	for i, e := range s.Elements {
		x, wrong := d.wrong[i]
		switch {
		case !d.there[i]:
			p.found(Difference{Kind: KindElement, Reason: masq.Missing, Parent: s.Name, Object: e.Key})
			add = append(add, e)
		case wrong && p.pending[ref{KindElement, s.Name, e.Key}]:
			// A pending attachment has the same address: its element stays until its record
			// says whether it was added or removed.
		case wrong:
			p.found(ChangedElement(x.in(s.Name, e.Key)))
			add, remove = append(add, e), append(remove, e)
		}
	}
	for _, key := range d.foreign {
		if !p.pending[ref{KindElement, s.Name, key}] {
			p.found(Difference{Kind: KindElement, Reason: masq.Unexpected, Parent: s.Name, Object: key})
			remove = append(remove, ruleset.Element{Key: key})
		}
	}
	ops, err := deleteElements(s, remove)
	if err != nil {
		return err
	}
	p.ops = append(p.ops, ops...)
	return p.fill(s, add)
}

// unexpected removes chains, sets and helpers that are neither desired nor pending.
func (p *planner) unexpected() error {
	if p.scope == part {
		return nil
	}
	desired := frameOf(p.want)
	all := drop(p.have, func(r ref) bool { return !desired[r] && !p.pending[r] }, p.found)
	for i := range all {
		all[i].doubtful, all[i].unexpected = true, true
	}
	p.ops = append(p.ops, all...)
	return nil
}

// drop deletes the chains, sets and helpers for which unused returns true. Their rules go
// first: rules refer to all others.
func drop(have *observed, unused func(ref) bool, found func(Difference)) []op {
	var flush, rest []op
	drops := func(k Kind, name string) bool {
		if !unused(ref{k, "", name}) {
			return false
		}
		found(Difference{Kind: k, Reason: masq.Unexpected, Object: name})
		return true
	}
	for _, name := range slices.Sorted(maps.Keys(have.chains)) {
		if drops(KindChain, name) {
			flush = append(flush, deleteRule(name, 0))
			rest = append(rest, deleteChain(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.sets)) {
		anonymous := have.sets[name].flags&unix.NFT_SET_ANONYMOUS != 0 // it goes with its rule
		if !anonymous && drops(KindSet, name) {
			rest = append(rest, deleteSet(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.objects)) {
		if drops(KindObject, name) {
			rest = append(rest, deleteObject(name, have.objects[name].kind))
		}
	}
	return append(flush, rest...)
}
