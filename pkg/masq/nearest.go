package masq

import (
	"slices"
	"strings"
	"unicode"
)

// Nearest returns the candidate that is most similar to a misspelled word, or "". A third of
// the letters may differ; upper and lower case are equal. A key that has all words of a
// candidate and one more is another key, not a misspelling.
func Nearest(word string, candidates []string) string {
	best, least := "", max(1, min(3, len(word)/3))+1
	for _, c := range candidates {
		if d := len(word) - len(c); d >= least || -d >= least {
			continue // this also skips very long words, which are slow to compare
		}
		if hasFurtherWord(word, c) {
			continue
		}
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance returns the optimal string alignment distance: the number of letters of a to
// insert, delete, replace or swap with the next letter to get b.
func distance(a, b string) int {
	var before, last, row []int
	for j := range len(b) + 1 {
		last = append(last, j)
	}
	for i := range len(a) {
		row = append(make([]int, 0, len(b)+1), i+1)
		for j := range len(b) {
			replace := last[j]
			if a[i] != b[j] {
				replace++
			}
			d := min(last[j+1]+1, row[j]+1, replace)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			row = append(row, d)
		}
		before, last = last, row
	}
	return last[len(b)]
}

// hasFurtherWord reports whether a key in camel case has all words of another key, in the
// same order, and at least one more.
func hasFurtherWord(key, other string) bool {
	words, want := camelWords(key), camelWords(other)
	if len(words) <= len(want) {
		return false
	}
	for _, w := range words {
		if len(want) > 0 && strings.EqualFold(w, want[0]) {
			want = want[1:]
		}
	}
	return len(want) == 0
}

// camelWords splits s before each upper case letter that follows another character.
func camelWords(s string) []string {
	var out []string
	last := 0
	letters := []rune(s)
	for i := 1; i < len(letters); i++ {
		if unicode.IsUpper(letters[i]) && !unicode.IsUpper(letters[i-1]) {
			out, last = append(out, string(letters[last:i])), i
		}
	}
	return slices.DeleteFunc(append(out, string(letters[last:])), func(w string) bool { return w == "" })
}
