package nft

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// tableName is the name of the table in output.
const tableName = ruleset.Family + " " + ruleset.Name

// errRebuild means that an object cannot be changed in place.
var errRebuild = errors.New("the table has to be made again")

// scope says how much of the desired ruleset the caller knows.
type scope int

const (
	// With whole, the caller knows the whole ruleset: all other objects are unexpected.
	whole scope = iota
	// With part, the caller knows the objects of some attachments. Others may need all
	// other objects.
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
	// edits says that rules are added to an existing chain. If another program does the
	// same at the same time, they exist twice.
	edits bool
}

// plan compares the table with the desired one, and returns the messages that make it so.
// Sets whose elements were not read keep them.
func plan(want ruleset.Table, have *observed, s scope, pending contents) (*planner, error) {
	p := &planner{want: want, have: have, scope: s, pending: pending}
	err := p.compare()
	if !errors.Is(err, errRebuild) || s == part {
		return p, err
	}
	// The table is deleted and made again in one transaction, so that no packet passes
	// without it.
	again := &planner{want: want, have: &observed{generation: have.generation}, changes: p.changes, ops: []op{deleteTable()}, rebuilt: true}
	again.ops[0].optional = false
	known := len(p.changes)
	err = again.compare()
	again.changes = again.changes[:known]
	return again, err
}

func (p *planner) found(c Difference) { p.changes = append(p.changes, c) }

// changed adds the difference of an object that exists and is not the desired one.
func (p *planner) changed(k Kind, name, format string, args ...any) {
	p.found(Difference{Kind: k, Reason: masq.Changed, Object: name, Detail: fmt.Sprintf(format, args...)})
}

func (p *planner) compare() error {
	switch {
	case !p.have.exists:
		p.found(Difference{Kind: KindTable, Reason: masq.Missing, Object: tableName})
		o := addTable(0)
		o.flags |= unix.NLM_F_EXCL // otherwise two programs that make the table would add each rule twice
		p.ops = append(p.ops, o)
	case p.have.flags != 0:
		p.changed(KindTable, tableName, "has flags %#x, not 0", p.have.flags)
		// The kernel cannot remove other flags. It also cannot activate a dormant table
		// and add a base chain to it in one transaction (EEXIST).
		if p.have.flags != unix.NFT_TABLE_F_DORMANT || !p.hasBaseChains() {
			return errRebuild
		}
		p.ops = append(p.ops, addTable(0))
	}
	for _, step := range []func() error{p.objects, p.sets, p.chains, p.rules, p.elements, p.unexpected} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// hasBaseChains reports whether all desired base chains exist.
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
			p.changed(KindObject, o.Name, "is helper %q of protocol %d, family %d, not %q of %s", have.kernel, have.protocol, have.l3, o.Kernel, o.Protocol)
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
			p.do(o, ruleset.SetDependsOnPolicies(s.Name))
		case have.signature != sig:
			p.changed(KindSet, s.Name, "has another type or other flags: %s, not %s", have.signature, sig)
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
			o.flags |= unix.NLM_F_EXCL // its rules are added after it
			p.do(o, ruleset.ChainDependsOnPolicies(c.Name))
			continue
		}
		if have.base != (c.Hook != nil) {
			p.changed(KindChain, c.Name, "is %sa base chain", map[bool]string{false: "not "}[have.base])
			return errRebuild
		}
		if h := c.Hook; h != nil {
			if have.kind != h.Type || have.hook != hooks[h.Point] || have.priority != priorities[h.Priority] {
				p.changed(KindChain, c.Name, "is of type %s at hook %s, priority %d, not of type %s at hook %s, priority %s",
					have.kind, hookName(have.hook), have.priority, h.Type, h.Point, h.Priority)
				return errRebuild
			}
			if have.policy != nfAccept {
				p.changed(KindChain, c.Name, "has another policy than accept")
				p.ops = append(p.ops, addChain(c))
			}
		}
	}
	return nil
}

// do adds a message to the plan. The message is doubtful if it is about an object that
// depends on policies.
func (p *planner) do(o op, doubtful bool) {
	o.doubtful = doubtful && p.have.exists
	p.ops = append(p.ops, o)
}
