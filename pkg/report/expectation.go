package report

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Expectation is a connection that a conntrack helper expects, because a control connection
// has announced it.
type Expectation struct {
	// Owner is the attachment at one end of the control connection.
	Owner
	Helper   string `json:"helper"`
	Protocol string `json:"protocol"`
	// Expected has the addresses of the first packet. The source is empty and its port 0 if
	// any is accepted.
	Expected Tuple `json:"expected"`
	// Master is the original tuple of the control connection.
	Master  Tuple   `json:"master"`
	Timeout Seconds `json:"timeout"` // remaining time
}

// ExpectationOf converts an expectation.
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

// Helpers has control connections and the connections that they have announced.
type Helpers struct {
	Control      []Flow        `json:"control"`
	Expectations []Expectation `json:"expectations"`
}
