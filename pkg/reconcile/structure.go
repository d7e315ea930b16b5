package reconcile

import (
	"errors"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// maxStructureAttempts is how often a sync judges again the objects that a newer
// attachment may need. The next sync judges the remaining ones.
const maxStructureAttempts = 5

// syncStructure makes the table's chains, rules, sets and objects the ones that the records
// and the configuration need, and returns the differences. asOf is the generation of the
// ruleset before the records were read; 0 if that is not known.
func (l *Loop) syncStructure(node NodeConfig, asOf uint32) (all []nft.Difference, err error) {
	unfilled := false
	for range maxStructureAttempts {
		l.markProgress()
		d := nft.Desired{
			AsOf: asOf, Keep: l.deps.Records.HasUnreadable(), Unfilled: l.hasManyRecords(),
			Complete: func() ruleset.Table { return l.completeTable(node) },
		}
		d.Table, d.Pending = l.skeleton(node)
		r, failed := l.deps.Rules.SyncStructure(d)
		all = append(all, r.Changes...)
		l.setDrift(r.Left)
		if r.Large {
			l.compareAll()
		}
		l.last.structure = l.last.structure || r.InUse
		unfilled = unfilled || r.Unfilled
		if err = failed; !errors.Is(err, nft.ErrConflict) {
			break
		}
		// Records that are read after the generation cover every attachment in the ruleset of
		// that generation: the plugin writes a record before its rules.
		if asOf, err = l.deps.Rules.Generation(); err != nil {
			break
		}
		if err := l.deps.Records.Refresh(); err != nil {
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
		l.countError("rules")
	}
	return all, err
}

// compareAll requests a sync that compares the whole table.
func (l *Loop) compareAll() {
	l.last.full = true
	l.RequestSync("verify", Soon, Changes)
}
