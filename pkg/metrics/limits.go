package metrics

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// What containers, tenants and far ends choose becomes label values: destinations, names of
// pods and networks, protocols. A scrape has at most so many rows with them.
const (
	// MaxEgressAddresses is how many missing egress addresses have a series.
	MaxEgressAddresses = 64
	// MaxStates is how many pairs of a protocol and a state have a series.
	MaxStates = 64
	// MaxHelpers is how many helpers have a series.
	MaxHelpers = 16
	// MaxKinds bounds the series of each metric whose label values are of the program:
	// reasons, kinds of objects, features.
	MaxKinds = 40

	// MaxSeries is the largest number of series of a scrape, including the Go and process
	// metrics. Each attachment of --attachment-metrics adds SeriesPerAttachment.
	MaxSeries           = 600
	SeriesPerAttachment = 3

	// maxLabel is the most bytes of a label value: as many as a name in Kubernetes has.
	maxLabel = 253
	// otherLabel stands for the rows that are left out.
	otherLabel = "other"
)

// label makes text from outside a label value: Prometheus refuses invalid UTF-8, and with it
// the whole scrape.
func label(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxLabel {
		return s
	}
	n := maxLabel
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// sums are counts by label value.
type sums[N int | uint64] map[string]N

// rows returns the n largest, with the sum of the others as "other", by label value.
func (m sums[N]) rows(n int) map[string]N {
	out := make(map[string]N, min(len(m), n))
	keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), strings.Compare(a, b))
	})
	for i, k := range keys {
		l := label(k)
		if i >= n-1 && len(keys) > n {
			l = otherLabel
		}
		out[l] += m[k]
	}
	return out
}

// distinct returns the first n rows that differ in their labels.
func distinct[T any](rows []T, n int, labels func(*T) []string) []T {
	seen := map[string]bool{}
	var out []T
	for i := range rows {
		values := labels(&rows[i])
		for k := range values {
			values[k] = label(values[k])
		}
		key := strings.Join(values, "\x00")
		if seen[key] || len(out) == n {
			continue
		}
		seen[key] = true
		out = append(out, rows[i])
	}
	return out
}
