package reconcile

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
)

// maxLoggedDifferences is the number of differences that a log line names.
const maxLoggedDifferences = 5

// logRepairs logs the number of repaired differences by kind, and the first of them. A
// missing table has a separate warning: another program deletes objects that do not belong
// to it.
func logRepairs(log *slog.Logger, changes []nft.Difference, took time.Duration) {
	missing := func(c nft.Difference) bool { return c.Kind == nft.KindTable && c.Reason == masq.Missing }
	if slices.ContainsFunc(changes, missing) {
		log.Warn("table inet masq was missing, as after nft flush ruleset or nft delete table by another program; it is restored")
	}
	kinds := map[string]int{}
	var names []string // kinds in order of occurrence
	for _, c := range changes {
		kind := string(c.Kind)
		if kinds[kind]++; kinds[kind] == 1 {
			names = append(names, kind)
		}
	}
	var counts []any
	for _, kind := range names {
		counts = append(counts, kind, kinds[kind])
	}
	var found differences
	for _, c := range changes[:min(len(changes), maxLoggedDifferences)] {
		found = append(found, c.String())
	}
	attrs := []any{"differences", len(changes), slog.Group("kinds", counts...), "found", found}
	if n := len(changes) - len(found); n > 0 {
		attrs = append(attrs, "more", n)
	}
	log.Info("repaired", append(attrs, "took", took)...)
}

// differences is one value of a log line: in text separated by semicolons, in JSON a list.
type differences []string

// MarshalText implements encoding.TextMarshaler.
func (d differences) MarshalText() ([]byte, error) { return []byte(strings.Join(d, "; ")), nil }

// MarshalJSON implements json.Marshaler.
func (d differences) MarshalJSON() ([]byte, error) { return json.Marshal([]string(d)) }
