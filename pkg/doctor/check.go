package doctor

import (
	"context"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// Cost says when a check runs.
type Cost uint8

// Costs of checks.
const (
	// Cheap checks take some milliseconds on a large node: masqd and inspect run them too.
	Cheap Cost = iota
	// Full checks enter containers or read many files.
	Full
	// Probe checks evaluate a probe. Without a target they are left out.
	Probe
)

// Check is a kind of fault, and how it is found.
type Check struct {
	// ID is the stable name: words of a-z and 0-9, separated by hyphens.
	ID string
	// Title says what is wrong: "IP forwarding is off".
	Title string
	// Severity is the highest severity of its findings.
	Severity report.Severity
	// Reads names what the check reads, for the table in docs/doctor.md.
	Reads string
	// Applies says when the check applies; empty: always.
	Applies string
	// Remedy is the remedy in general; a finding has the commands.
	Remedy string
	Cost   Cost
	// NeedsSummary is true if the check reads Node.Summary. Without a summary it is left out.
	NeedsSummary bool
	// Run returns the findings. An error means that the node could not be checked.
	Run func(ctx context.Context, n *Node) ([]Finding, error)
}

// notChecked is the error of a check that cannot read what it needs.
type notChecked string

func (e notChecked) Error() string { return string(e) }
