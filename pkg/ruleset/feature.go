package ruleset

import (
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Feature is an MSS clamp or a conntrack helper. All policies that have it share its sets
// and rules.
type Feature struct {
	Kind SetKind // ClampSet or HelperSet
	// Name is the MSS of a clamp, or the object of a helper. It is empty for the clamp of
	// sourceCIDRs, whose rules do not name the MSS.
	Name string
}

// Feature returns the feature that a set belongs to, and false for other sets.
func (n SetName) Feature() (Feature, bool) {
	return Feature{n.Kind, n.Variant}, n.Kind == ClampSet || n.Kind == HelperSet
}

// RuleRole says what a rule depends on.
type RuleRole struct {
	// Feature is the feature that the rule belongs to, or the zero value.
	Feature Feature
	// Helpers says that the rule exists while any helper is in use.
	Helpers bool
	// Sources says that the rule is about sourceCIDRs.
	Sources bool
	// Policy is the ID of the policy that the rule belongs to, or "" for a rule that several
	// policies share, and for the rules of a policy's chain.
	Policy string
}

// The IDs of rules that belong to a feature.

func clampID(size, side, family string) string { return "clamp/" + size + "-" + side + family }

// mssClamps begins the IDs of rules for mssClamps, after the chain.
const mssClamps = "mss-"

func mssClampID(policy, own, family string) string {
	return "clamp/" + mssClamps + own + family + "-" + policy
}

func sourcesMSSClampID(own, family string) string { return "clamp/cidr-" + mssClamps + own + family }

func sourcesClampID(side, family string) string { return "clamp/cidr-" + side + family }

func helperID(object, family string) string { return "helpers/" + object + family }

func sourcesHelperID(object, port, family string) string {
	return "helpers/cidr-" + object + "-" + port + "-" + family
}

// The IDs of the rules that jump to the chains for connections that helpers redirect.
const (
	toExpectedID  = PreroutingChain + "/" + expectedChain
	toFollowingID = PreroutingChain + "/" + followingChain
)

// RoleOf returns the role of the rule that has an ID in a chain.
func RoleOf(chain, id string) RuleRole {
	of, rest, _ := strings.Cut(id, "/")
	sources := strings.HasPrefix(rest, "cidr")
	r := RuleRole{Sources: sources && of == chain}
	switch of {
	case ClampChain:
		size, end, _ := strings.Cut(rest, "-")
		switch {
		case sources:
			r.Feature = Feature{ClampSet, ""}
		case strings.HasPrefix(rest, mssClamps):
			_, r.Policy, _ = strings.Cut(end, "-")
		default:
			r.Feature = Feature{ClampSet, size}
		}
	case HelpersChain:
		object := strings.TrimRight(rest, "46")
		if sources {
			object = strings.TrimPrefix(object, "cidr-")
			object = strings.TrimRight(object, "-0123456789") // the port and the family
		}
		r.Feature = Feature{HelperSet, object}
	case expectedChain, announcedChain, followingChain:
		r.Helpers = true
	case PreroutingChain:
		r.Helpers = id == toExpectedID || id == toFollowingID
	}
	return r
}

// dependsOnPolicies reports whether the feature exists only while a policy has it. The
// clamp to the path MTU is part of every ruleset.
func (f Feature) dependsOnPolicies() bool {
	return f != (Feature{}) && f != (Feature{ClampSet, masq.ClampPMTU.String()})
}

// Some objects exist only while attachments of certain policies do. All others exist as
// long as the table.

// SetDependsOnPolicies reports whether a set exists only while certain policies have
// attachments.
func SetDependsOnPolicies(name string) bool {
	n, _ := ParseSetName(name)
	f, ok := n.Feature()
	return ok && f.dependsOnPolicies() || n.Policy() != ""
}

// ChainDependsOnPolicies reports whether a chain exists only while certain policies have
// attachments.
func ChainDependsOnPolicies(name string) bool {
	_, ok := ParsePolicyChain(name)
	return ok || name == PreroutingChain
}

// RuleDependsOnPolicies reports whether a rule exists in a chain only while certain
// policies have attachments.
func RuleDependsOnPolicies(chain, id string) bool {
	r := RoleOf(chain, id)
	return r.Helpers || r.Policy != "" || r.Feature.dependsOnPolicies()
}

// RuleIsShared reports whether sourceCIDRs or attachments of any policy may need a rule. A
// caller that knows only some attachments must not remove it.
func RuleIsShared(chain, id string) bool {
	r := RoleOf(chain, id)
	return chain == ClampChain || chain == HelpersChain || r.Helpers || r.Sources
}
