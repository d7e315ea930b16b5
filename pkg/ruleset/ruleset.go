package ruleset

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Sources are addresses that other plugins set up (sourceCIDRs), and their policy.
type Sources struct {
	Prefixes []netip.Prefix
	Policy   masq.Policy
}

// For returns the complete ruleset for attachments and sources. Attachments without a
// policy add nothing. If two attachments have the same address, it belongs to the later
// one. An egress address that a policy names is used if egress has it or the policy
// declares it as routed.
func For(attachments []masq.Attachment, sources Sources, egress Egress) Table {
	b := build(attachments, sources, nil)
	if last := b.duplicates(attachments); len(last) > 0 {
		b = build(attachments, sources, last)
	}
	b.egress = egress
	return b.table()
}

func build(attachments []masq.Attachment, sources Sources, last map[netip.Addr]int) *builder {
	b := newBuilder(sources)
	for i, a := range attachments {
		if a.Policy != nil {
			b.add(a, func(addr netip.Addr) bool {
				last, duplicate := last[addr]
				return !duplicate || last == i
			})
		}
	}
	return b
}

// duplicates returns the addresses that several attachments have, with the index of the
// last attachment that has each. Sets that are searched by address alone contain the
// address for that attachment only.
func (b *builder) duplicates(attachments []masq.Attachment) map[netip.Addr]int {
	last := map[netip.Addr]int{}
	for _, f := range masq.Families {
		all := b.live[addressSets[f].policy]
		sortMembers(all)
		for i := 1; i < len(all); i++ {
			if all[i].addr == all[i-1].addr {
				last[all[i].addr] = -1
			}
		}
	}
	if len(last) == 0 {
		return nil
	}
	for i, a := range attachments {
		for _, addr := range a.Addresses {
			if _, duplicate := last[addr]; duplicate && a.Policy != nil {
				last[addr] = i
			}
		}
	}
	return last
}
