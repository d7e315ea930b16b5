package cniconf

import (
	"cmp"
	"slices"
	"testing"
)

// A policy's keys are ours, and ours have a place in the order.
func TestKeyLists(t *testing.T) {
	for _, key := range policyKeys {
		if i, j := rankOf(key), rankOf("ipMasq"); i <= j || i >= rankOf("capabilities") {
			t.Errorf("%s is not among our keys", key)
		}
	}
	order := []string{"name", "stateDir", "prevResult", "zz", argsPlace}
	if !slices.IsSortedFunc(order, func(a, b string) int { return cmp.Compare(rankOf(a), rankOf(b)) }) {
		t.Errorf("%v are not in this order", order)
	}
}
