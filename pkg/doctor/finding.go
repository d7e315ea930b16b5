package doctor

import (
	"context"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// Finding is a fault that a check has found.
type Finding struct {
	// Check is the ID of the check. Run sets it.
	Check    string          `json:"check"`
	Severity report.Severity `json:"severity"`
	// Object has the fault: "interface eth0", "pod shop/cart", "table inet masq".
	Object string `json:"object"`
	// Message says what is wrong with the Object, which is its subject: "does not forward
	// IPv4".
	Message string `json:"message"`
	// Evidence are the values that show the fault.
	Evidence []Evidence `json:"evidence"`
	// Why says what fails because of it.
	Why    string `json:"why"`
	Remedy Remedy `json:"remedy"`
}

// Evidence is a value as it was read.
type Evidence struct {
	Source string `json:"source"` // where: "net.ipv4.conf.eth0.forwarding", a file, "conntrack"
	Value  string `json:"value"`
}

// String returns source and value.
func (e Evidence) String() string { return e.Source + " = " + e.Value }

// Remedy is what to do about a finding.
type Remedy struct {
	// Text is one sentence. It is empty if the commands say it all.
	Text string `json:"text,omitempty"`
	// Commands are to paste into a shell on the node.
	Commands []string `json:"commands,omitempty"`
	// Fix is nil if masq-cni doctor --fix cannot apply the remedy.
	Fix *Fix `json:"fix,omitempty"`
}

// Fix is a remedy that masq-cni applies itself. It changes only objects of masq-cni, and can
// be undone.
type Fix struct {
	// Does says what Apply does: "lowers the MSS of connections to 198.51.100.0/24 to 172".
	Does string `json:"does"`
	// Undo are the commands that undo it.
	Undo []string `json:"undo"`
	// Apply does it.
	Apply func(ctx context.Context) error `json:"-"`
}

// String returns object and message as one sentence.
func (f Finding) String() string { return f.Object + " " + f.Message }

// Problem returns the finding as a problem of inspect.
func (f Finding) Problem() report.Problem {
	c := report.Cause{Remedy: report.Remedy{Text: f.Remedy.Text, Commands: f.Remedy.Commands}}
	for _, e := range f.Evidence {
		c.Evidence = append(c.Evidence, report.Evidence(e))
	}
	return report.NewProblem(f.Severity, report.Kind(f.Check), f.Object, f.Message, c)
}
