package reconcile

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// logged is the number of differences that a repair's line of log names.
const logged = 5

// look compares everything, mends it, and reports whether there was anything to
// mend.
func (l *Loop) look(ctx context.Context, begun time.Time) bool {
	changes, err := l.mend(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Begun = time.Time{}
	if err != nil {
		l.stats.Failures++
		l.stats.Drift = len(changes)
		if problem := err.Error(); problem != l.stats.Problem {
			l.stats.Problem = problem // said once for each change of it
			l.Log.Error("cannot bring the kernel into agreement with the records", "err", err)
		}
		return false
	}
	if l.stats.Problem != "" {
		l.Log.Info("the kernel can be brought into agreement with the records again")
	}
	l.stats.Problem, l.stats.Drift, l.stats.LastLook = "", 0, time.Now()
	if len(changes) == 0 {
		return false
	}
	l.stats.LastRepair = time.Since(begun)
	l.stats.RepairSeconds += l.stats.LastRepair.Seconds()
	var found []string
	for i, c := range changes {
		l.stats.Repairs[c.Kind]++
		switch {
		case i < logged:
			found = append(found, c.String())
		case i == logged:
			found = append(found, fmt.Sprintf("and %d more", len(changes)-logged))
		}
	}
	l.Log.Info("repaired", "found", found, "took", l.stats.LastRepair)
	return true
}

func (l *Loop) mend(ctx context.Context) ([]nft.Change, error) {
	records, err := l.Records()
	if err != nil && len(records) == 0 {
		return nil, err
	}
	// Records that cannot be read are those of attachments that are there all the
	// same: better to repair the others than nothing.
	if err != nil {
		l.Log.Warn("some records cannot be read", "err", err)
	}
	settled, moving := split(records)
	node := l.Node()
	node.apply(settled)
	node.apply(moving)
	want, beside := ruleset.For(settled, node.Sources), ruleset.Table{}
	if len(moving) > 0 {
		beside = ruleset.For(moving, ruleset.Sources{})
	}
	if len(settled) == 0 && len(node.Sources.Prefixes) == 0 {
		// A node without attachments has no table, unless somebody is making one.
		want = ruleset.Table{}
	}
	changes, err := l.Apply(want, beside)
	if err != nil {
		return changes, fmt.Errorf("rules: %w", err)
	}
	l.mu.Lock()
	l.stats.Attachments, l.stats.Policies = len(settled), policies(settled)
	l.mu.Unlock()
	suspects, known := l.newcomers(settled)
	// What could not be done after a repair is still to be done.
	if l.owed = l.owed || exposed(changes); l.owed {
		suspects = settled
	}
	gap := 0
	if len(suspects) > 0 {
		if gap, err = l.Forget(ctx, suspects); err != nil {
			return changes, fmt.Errorf("flows that began without translation: %w", err)
		}
	}
	l.owed, l.known = false, known
	if gap > 0 {
		l.mu.Lock()
		l.stats.Gap += gap
		l.mu.Unlock()
		l.Log.Info("flows had begun without translation, and were deleted to begin again", "flows", gap)
	}
	return changes, nil
}

// newcomers returns the attachments that the last look did not know: their
// addresses may have had traffic before there were rules for them.
func (l *Loop) newcomers(settled []masq.Attachment) (fresh []masq.Attachment, known map[masq.Key]bool) {
	known = make(map[masq.Key]bool, len(settled))
	for _, a := range settled {
		known[a.Key] = true
		if !l.known[a.Key] {
			fresh = append(fresh, a)
		}
	}
	return fresh, known
}

// split tells attachments that are in place from those that the plugin is adding
// or removing right now.
func split(records []store.Record) (settled, moving []masq.Attachment) {
	for _, r := range records {
		switch {
		case r.Policy == nil:
		case r.Ready:
			settled = append(settled, r.Attachment)
		default:
			moving = append(moving, r.Attachment)
		}
	}
	return settled, moving
}

func policies(all []masq.Attachment) int {
	seen := map[string]bool{}
	for _, a := range all {
		seen[a.Policy.ID()] = true
	}
	return len(seen)
}

// exposed reports whether packets may have passed untranslated because of what was
// different. Foreign elements and sets do not do that; a foreign rule can.
func exposed(changes []nft.Change) bool {
	for _, c := range changes {
		harmless := c.Kind != "rule" && (strings.HasPrefix(c.Found, "foreign") || strings.HasPrefix(c.Found, "surplus"))
		if !harmless {
			return true
		}
	}
	return false
}
