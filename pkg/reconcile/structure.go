package reconcile

import (
	"errors"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// conflicts limits how often a sync judges again the objects that a newer attachment
// may need. The next sync judges the remaining ones.
const conflicts = 5

// syncStructure makes the table's chains, rules, sets and objects the ones that the
// records and the configuration need, and returns the differences.
//
// The records are known as of a generation of the ruleset; 0 is none.
func (l *Loop) syncStructure(node Node, asOf uint32) (all []nft.Difference, err error) {
	unfilled := false
	for range conflicts {
		l.advance()
		d := nft.Desired{AsOf: asOf, Keep: l.Records.Snapshot().Err != nil, Complete: func() ruleset.Table { return l.complete(node) }}
		d.Unfilled = l.isCrowded()
		d.Table, d.Pending = l.skeleton(node)
		r, failed := l.Rules.SyncStructure(d)
		all = append(all, r.Changes...)
		l.drift(r.Left)
		if r.Large {
			l.compareAll()
		}
		l.last.structure = l.last.structure || r.InUse
		unfilled = unfilled || r.Unfilled
		if err = failed; !errors.Is(err, nft.ErrConflict) {
			break
		}
		// The plugin writes a record before the rules: whatever the ruleset of this
		// generation has for an attachment, its record is there.
		if asOf, err = l.Rules.Generation(); err != nil {
			break
		}
		if err := l.Records.Refresh(); err != nil {
			return all, err
		}
		err = nft.ErrConflict
	}
	if errors.Is(err, nft.ErrConflict) {
		l.last.structure = true
		l.RequestSync("conflict", Soon, Changes)
		err = nil
	}
	if err == nil && unfilled {
		err = l.fill(node)
	}
	if err != nil {
		l.failed("rules")
	}
	return all, err
}

// compareAll has the next sync compare the whole table.
func (l *Loop) compareAll() {
	l.last.full = true
	l.RequestSync("verify", Soon, Changes)
}
