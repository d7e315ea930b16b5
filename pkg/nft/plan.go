package nft

import (
	"errors"
	"fmt"
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
			p.do(o, ruleset.SetDependsOnPolicies(s.Name))
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
			p.do(o, ruleset.ChainDependsOnPolicies(c.Name))
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

// do adds a message to the plan. It is doubtful if it is about something that comes and
// goes with a policy's attachments.
func (p *planner) do(o op, doubtful bool) {
	o.doubtful = doubtful && p.have.exists
	p.ops = append(p.ops, o)
}
