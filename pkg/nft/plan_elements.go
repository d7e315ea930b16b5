package nft

import (
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

func (p *planner) elements() error {
	for _, s := range p.want.Sets {
		if s.Live && p.scope == part {
			continue // callers add and remove them one by one
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
		p.do(o, p.have.sets[s.Name] == nil && ruleset.SetDependsOnPolicies(s.Name))
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
	p.found(Difference{Kind: KindElement, Reason: masq.Changed, Parent: s.Name, Detail: "has other ranges than desired"})
	p.ops = append(p.ops, flushSet(s.Name))
	return p.fill(s, s.Elements)
}

func (p *planner) keys(s ruleset.Set, d *setDifference) error {
	var add, remove []ruleset.Element
	for i, e := range s.Elements {
		x, wrong := d.wrong[i]
		switch {
		case !d.exists[i]:
			p.found(Difference{Kind: KindElement, Reason: masq.Missing, Parent: s.Name, Object: e.Key})
			add = append(add, e)
		case wrong && p.pending[ref{KindElement, s.Name, e.Key}]:
			// A pending attachment has the same address: the element is kept until the
			// record says whether the attachment was added or removed.
		case wrong:
			p.found(ChangedElement(x.in(s.Name, e.Key)))
			add, remove = append(add, e), append(remove, e)
		}
	}
	for _, key := range d.unexpected {
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
