package report

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Expectation is a connection that a helper heard announced in another.
type Expectation struct {
	// Owner is the attachment at either end of the control connection.
	Owner
	Helper   string `json:"helper"`
	Protocol string `json:"protocol"`
	// Expected is what the first packet will look like. A source that may be any is
	// empty, a port 0.
	Expected Tuple `json:"expected"`
	// Master is the original tuple of the control connection.
	Master  Tuple   `json:"master"`
	Timeout Seconds `json:"timeout"` // what is left
}

// ExpectationOf describes an expectation.
func ExpectationOf(e *conntrack.Expectation, owners *Owners) Expectation {
	x := Expectation{
		Helper: e.Helper.String(), Protocol: Protocol(e.Tuple.Proto),
		Expected: tupleOf(&e.Tuple), Master: tupleOf(&e.Master), Timeout: Seconds(e.Timeout),
	}
	if e.Mask.Src.IsUnspecified() {
		x.Expected.Source = netip.Addr{}
	}
	if e.Mask.SrcPort == 0 {
		x.Expected.SourcePort = 0
	}
	o := owners.Find(e.Master.Src)
	if o == nil {
		o = owners.Find(e.Master.Dst)
	}
	if o != nil {
		x.Owner = *o
	}
	return x
}

// Helpers are the control connections, and what they have announced.
type Helpers struct {
	Control      []Flow        `json:"control"`
	Expectations []Expectation `json:"expectations"`
}
