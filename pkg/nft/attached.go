package nft

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Attached is an attachment as the elements in the kernel describe it.
type Attached struct {
	Identity  string
	Addresses []netip.Addr // IPv4 first
	Policy    string       // ID of its policy; empty if its addresses have different policies
}

// Attached returns the attachments in the kernel for which want returns true, sorted by
// identity. It reads the policy maps.
func (c *Conn) Attached(want func(identity string) bool) ([]Attached, error) {
	var found map[string]*Attached
	err := retry(func() error {
		found = map[string]*Attached{}
		have, err := c.structure()
		if err != nil {
			return err
		}
		for _, f := range masq.Families {
			set := ruleset.SetName{Kind: ruleset.PolicySet, Family: f}.Set()
			if have.sets[set.Name] == nil {
				continue
			}
			all, err := c.elements(set.Name, set.Type)
			if err != nil {
				return err
			}
			for key, e := range all {
				if e.comment == "" || !want(e.comment) {
					continue
				}
				addr, err := netip.ParseAddr(key)
				if err != nil {
					return fmt.Errorf("element %s of %s: %w", key, set.Name, err)
				}
				policy, _ := ruleset.ParsePolicyChain(e.chain)
				x := found[e.comment]
				if x == nil {
					x = &Attached{Identity: e.comment, Policy: policy}
					found[e.comment] = x
				}
				if x.Addresses = append(x.Addresses, addr); x.Policy != policy {
					x.Policy = ""
				}
			}
		}
		return nil
	})
	var out []Attached
	for _, x := range found {
		slices.SortFunc(x.Addresses, netip.Addr.Compare)
		out = append(out, *x)
	}
	slices.SortFunc(out, func(a, b Attached) int { return strings.Compare(a.Identity, b.Identity) })
	return out, explain(err)
}

// DirectRanges returns the direct destinations in the kernel of the policy that has an ID.
// It returns none if there is no such policy.
func (c *Conn) DirectRanges(id string) (out []masq.AddrRange, err error) {
	err = retry(func() error {
		out = nil
		have, err := c.structure()
		if err != nil {
			return err
		}
		for _, f := range masq.Families {
			name := ruleset.SetName{Kind: ruleset.DirectSet, Family: f, Variant: id}.String()
			if have.sets[name] == nil {
				continue
			}
			var s set
			if err := c.ranges(name, &s); err != nil {
				return err
			}
			out = append(out, rangesOf(s.bounds)...)
		}
		return nil
	})
	return out, explain(err)
}

// Identities returns the identities of the attachments in the kernel.
func (c *Conn) Identities() ([]string, error) {
	found := map[string]bool{}
	err := retry(func() error {
		clear(found)
		have, err := c.structure()
		if err != nil {
			return err
		}
		for _, f := range masq.Families {
			set := ruleset.SetName{Kind: ruleset.PolicySet, Family: f}.Set()
			if have.sets[set.Name] == nil || have.owner != 0 {
				continue
			}
			all, err := c.elements(set.Name, set.Type)
			if err != nil {
				return err
			}
			for _, e := range all {
				found[e.comment] = true
			}
		}
		return nil
	})
	return slices.Sorted(maps.Keys(found)), explain(err)
}
