package cniconf

import (
	"slices"
	"testing"
)

// Null is a fault for the keys of a policy too.
func TestPolicyKeysAreOurs(t *testing.T) {
	for _, key := range policyKeys {
		if !slices.Contains(ourKeys, key) {
			t.Errorf("%s is missing in ourKeys", key)
		}
	}
}
