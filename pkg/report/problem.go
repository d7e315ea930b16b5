package report

import (
	"fmt"
	"slices"
	"strings"
)

// Part is a part of the node that is queried.
type Part string

// Parts of the node.
const (
	PartTable     Part = "nftables"
	PartEgress    Part = "egress addresses"
	PartLinks     Part = "links"
	PartChains    Part = "chains of other tables"
	PartUplinks   Part = "uplinks"
	PartDaemon    Part = "masqd"
	PartConntrack Part = "conntrack"
)

// QueryFailed returns the problem that a part could not be queried. Its Object is the part.
func QueryFailed(p Part, err error) Problem {
	return NewProblem(SeverityUnknown, KindQueryFailed, string(p), "cannot be queried: "+err.Error(), Cause{Remedy: Remedy{Text: "run masq-cni as root on the node"}})
}

// Severity is the severity of a problem.
type Severity string

// Severities, the highest first.
const (
	// SeverityError is a fault: traffic fails or leaves untranslated, or the configuration
	// is not in effect.
	SeverityError Severity = "error"
	// SeverityUnknown is a part of the node that could not be queried.
	SeverityUnknown Severity = "unknown"
	// SeverityWarning is a condition under which traffic may fail.
	SeverityWarning Severity = "warning"
)

var severities = []Severity{SeverityError, SeverityUnknown, SeverityWarning}

// Kind is the kind of a problem: a stable word for programs.
type Kind string

// Kinds of problems.
const (
	KindTableMissing    Kind = "table-missing"      // table inet masq does not exist, and attachments need it
	KindTableOwned      Kind = "table-owned"        // table inet masq belongs to another program
	KindDrift           Kind = "drift"              // the kernel differs from the desired state
	KindLinkDrift       Kind = "link-drift"         // a link differs from what ADD made
	KindDaemonStopped   Kind = "daemon-stopped"     // no masqd repairs this node
	KindDaemonNotReady  Kind = "daemon-not-ready"   // masqd runs and is not ready
	KindConfiguration   Kind = "configuration"      // the node's configuration is not in effect
	KindStateMissing    Kind = "state-missing"      // the directory of the records does not exist, or is not this node's
	KindDaemonElsewhere Kind = "daemon-elsewhere"   // masqd works in another network namespace
	KindNotReady        Kind = "attachment-pending" // an ADD or DEL was killed
	KindClaimedTwice    Kind = "address-claimed"    // two attachments have one address
	KindEgressMissing   Kind = "egress-missing"     // the node does not have an egress address that a policy names
	KindFirewall        Kind = "firewall"           // a chain of another program can drop packets of containers
	KindUplinkAddress   Kind = "uplink-address"     // an uplink has no address, or only a link-local one, so that replies are lost
	KindConntrackFull   Kind = "conntrack-full"     // the conntrack table is nearly full
	KindPortsScarce     Kind = "ports-scarce"       // few source ports are free
	KindPacketsDropped  Kind = "packets-dropped"    // packets of new flows were dropped
	KindSpoofed         Kind = "packets-spoofed"    // a container sends packets with a source that is not its own
	KindFlowsEvicted    Kind = "flows-evicted"      // the kernel ended flows early to make room
	KindRecordUnread    Kind = "record-unreadable"  // a record cannot be read
	KindAnnotation      Kind = "annotation-refused" // an annotation of a pod has no effect, or keeps the pod from starting
	KindQueryFailed     Kind = "query-failed"       // a part of the node could not be queried
)

// Problem is a fault of the node, or a condition that leads to one, and its remedy.
type Problem struct {
	Severity Severity `json:"severity"`
	Kind     Kind     `json:"kind"`
	// Object has the problem: "table inet masq", a pod, a file, an address.
	Object string `json:"object"`
	// Message says what is wrong with the Object, which is its subject: "does not exist; the
	// traffic of 3 attachments leaves untranslated".
	Message string `json:"message"`
	// Remedy is what to do, if possible a command.
	Remedy string `json:"remedy"`
	// Cause has what doctor shows in addition.
	Cause Cause `json:"-"`
}

// Cause is a problem in detail.
type Cause struct {
	// Evidence are the values that show the problem.
	Evidence []Evidence
	// Attachments are the identities of the attachments that have the problem. It is empty if
	// the node has it.
	Attachments []string
	// Remedy is Problem.Remedy in parts. It is empty if Problem.Remedy has no command.
	Remedy Remedy
}

// Evidence is a value as it was read.
type Evidence struct {
	Source string `json:"source"` // where: "net.ipv4.conf.eth0.forwarding", a file, "conntrack"
	Value  string `json:"value"`
}

// Remedy is what to do: a sentence, commands, or both.
type Remedy struct {
	Text     string
	Commands []string
}

// String returns the sentence and the commands in one line.
func (r Remedy) String() string {
	commands := strings.Join(r.Commands, "; ")
	switch {
	case r.Text == "":
		return commands
	case commands == "":
		return r.Text
	}
	return strings.TrimSuffix(r.Text, ".") + ": " + commands
}

// NewProblem returns a problem. Its Remedy is the text of c.Remedy.
func NewProblem(s Severity, k Kind, object, message string, c Cause) Problem {
	return Problem{Severity: s, Kind: k, Object: object, Message: message, Remedy: c.Remedy.String(), Cause: c}
}

// maxEvidence is the greatest number of objects of one kind that a Cause lists.
const maxEvidence = 5

// String returns object and message as one sentence.
func (p Problem) String() string { return p.Object + " " + p.Message }

// Advice returns object, message and remedy.
func (p Problem) Advice() string { return strings.TrimSuffix(p.String()+"; "+p.Remedy, "; ") }

// Problems are the problems of a node, the worst first.
type Problems []Problem

// Add inserts a problem after all problems of the same or a higher severity.
func (all *Problems) Add(p Problem) {
	i, _ := slices.BinarySearchFunc(*all, p, func(a, b Problem) int {
		if rank(a) <= rank(b) {
			return -1
		}
		return 1
	})
	*all = slices.Insert(*all, i, p)
}

func rank(p Problem) int { return slices.Index(severities, p.Severity) }

// Worst returns the highest severity, or "" without problems.
func (all Problems) Worst() Severity {
	if len(all) == 0 {
		return ""
	}
	return all[0].Severity
}

// Healthy reports whether all problems are warnings.
func (all Problems) Healthy() bool { return all.Worst() == "" || all.Worst() == SeverityWarning }

// Verdict returns a line with the number of problems and the worst, or "healthy".
func (all Problems) Verdict() string {
	switch {
	case len(all) == 0:
		return "healthy"
	case all.Healthy() && len(all) == 1:
		return "healthy, with 1 warning: " + all[0].String()
	case all.Healthy():
		return fmt.Sprintf("healthy, with %s, the first: %s", Plural(len(all), "warning"), all[0])
	case len(all) == 1:
		return "1 problem: " + all[0].String()
	}
	return fmt.Sprintf("%s, the worst: %s", Plural(len(all), "problem"), all[0])
}
