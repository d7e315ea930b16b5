package metrics

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of the number of series. Containers, tenants and remote hosts choose label values:
// destinations, names of pods and networks, protocols.
const (
	// MaxEgressAddresses is how many missing egress addresses have a series.
	MaxEgressAddresses = 64
	// MaxStates is how many pairs of a protocol and a state have a series.
	MaxStates = 64
	// MaxHelpers is how many helpers have a series.
	MaxHelpers = 16
	// MaxKinds is how many reasons, kinds of objects or features a metric has series of:
	// label values that masqd chooses.
	MaxKinds = 40

	// MaxSeries is the maximum number of series of a scrape, including those of the Go
	// runtime and the process. Each attachment of --attachment-metrics adds
	// SeriesPerAttachment.
	MaxSeries           = 600
	SeriesPerAttachment = 3

	// maxLabel is the maximum length of a label value in bytes, as of names in Kubernetes.
	maxLabel = 253
	// otherLabel is the label value of the sum of the rows beyond a limit.
	otherLabel = "other"
)

// label returns a valid label value for any text. Prometheus rejects the whole scrape if a
// label value is not valid UTF-8.
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

// largest returns at most n rows: the largest, and the sum of all others as "other".
func (m sums[N]) largest(n int) map[string]N {
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

// distinct returns the first n rows with different labels: Prometheus rejects equal series.
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
