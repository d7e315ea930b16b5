package main

import (
	"fmt"
	"strings"
)

// directFlows says which untranslated flows of attachments the NAT log has.
type directFlows string

// The pods that opted out chose so themselves: that their flows are in the log must not
// be their choice. Other direct destinations are the operator's choice, and are most of a
// cluster's flows.
const (
	directOptedOut directFlows = "opted-out" // of pods with the annotation egress
	directAll      directFlows = "all"       // of every attachment, and of sourceCIDRs
	directNone     directFlows = "none"
)

var allDirectFlows = []string{string(directOptedOut), string(directAll), string(directNone)}

func (*directFlows) Type() string     { return strings.Join(allDirectFlows, "|") }
func (d *directFlows) String() string { return string(*d) }

func (d *directFlows) Set(s string) error {
	switch x := directFlows(s); x {
	case directOptedOut, directAll, directNone:
		*d = x
		return nil
	}
	return fmt.Errorf("%q is none of %s", s, strings.Join(allDirectFlows, ", "))
}
