package nft

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// successorPlan has the messages that put successors under their policies, and the objects
// that these policies need.
type successorPlan struct {
	ops    []op
	needed contents
}

// addSuccessors plans to put successors under their policies. It does so only for addresses
// whose elements are removed.
func (c *Conn) addSuccessors(successors []masq.Attachment, has func(netip.Addr) (bool, error), removed removedElements, have *observed) (successorPlan, error) {
	var left []masq.Attachment
	for _, s := range successors {
		s.Addresses = slices.DeleteFunc(slices.Clone(s.Addresses), func(x netip.Addr) bool {
			_, free := removed[ruleset.PolicySet.Of(masq.FamilyOf(x))][x.String()]
			return !free
		})
		if s.Policy != nil && len(s.Addresses) > 0 {
			left = append(left, s)
		}
	}
	if len(left) == 0 {
		return successorPlan{}, nil
	}
	want, err := tableOf(left, has, have.reserved)
	if err != nil {
		return successorPlan{}, err
	}
	p, err := plan(want, have, part, nil)
	if errors.Is(err, errRebuild) {
		return successorPlan{}, nil // the next ADD, or masqd, makes the table again with all its elements
	}
	if err != nil {
		return successorPlan{}, err
	}
	out := successorPlan{p.ops, frameOf(want)}
	for _, s := range want.Sets {
		if !s.Live || len(s.Elements) == 0 {
			continue
		}
		add, err := addElements(s, s.Elements, false)
		if err != nil {
			return successorPlan{}, err
		}
		out.ops = append(out.ops, add...)
	}
	return out, nil
}
