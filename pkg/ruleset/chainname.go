package ruleset

import (
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// The names of chains that code refers to.
const (
	// PreroutingChain is the base chain that exists only while a helper is in use, because
	// each packet on the node passes it.
	PreroutingChain = "prerouting"
	HelpersChain    = "helpers"
	ClampChain      = "clamp"

	expectedChain      = "expected"
	announcedChain     = "announced"
	followingChain     = "following"
	sourcesChain       = "sources"
	relatedChain       = "related"
	preroutingNATChain = "prerouting-nat"
	originChain        = "origin"
	invalidChain       = "invalid"
	postroutingChain   = "postrouting"
)

const policyChainPrefix = "policy-"

// PolicyChain returns the name of a policy's chain.
func PolicyChain(p masq.Policy) string { return PolicyChainOf(p.ID()) }

// PolicyChainOf returns the name of the chain of the policy that has an ID.
func PolicyChainOf(id string) string { return policyChainPrefix + id }

// ParsePolicyChain returns the ID of the policy that has a chain. It returns false for
// other chains.
func ParsePolicyChain(name string) (id string, ok bool) {
	return strings.CutPrefix(name, policyChainPrefix)
}
