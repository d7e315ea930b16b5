package flowlog

import (
	"fmt"
	"strings"
)

// DirectFlows selects which untranslated flows the NAT log contains. It is the value of
// --nat-log-direct.
type DirectFlows string

// A pod can opt out of translation with an annotation. DirectOptedOut ensures that its
// flows are still logged. The operator configures all other direct destinations. Flows to
// these are most flows of a cluster.
const (
	DirectOptedOut DirectFlows = "opted-out" // of pods with the annotation egress
	DirectAll      DirectFlows = "all"       // of every attachment, and of sourceCIDRs
	DirectNone     DirectFlows = "none"
)

var directChoices = []string{string(DirectOptedOut), string(DirectAll), string(DirectNone)}

// Type implements pflag.Value.
func (*DirectFlows) Type() string { return strings.Join(directChoices, "|") }

// String implements pflag.Value.
func (d *DirectFlows) String() string { return string(*d) }

// Set implements pflag.Value.
func (d *DirectFlows) Set(s string) error {
	switch x := DirectFlows(s); x {
	case DirectOptedOut, DirectAll, DirectNone:
		*d = x
		return nil
	}
	return fmt.Errorf("%q is none of %s", s, strings.Join(directChoices, ", "))
}
