package nft

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

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

// drop deletes the chains, sets and helpers for which unused returns true. It deletes
// their rules first, because rules refer to the others.
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
		anonymous := have.sets[name].flags&unix.NFT_SET_ANONYMOUS != 0 // the kernel deletes it with its rule
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
