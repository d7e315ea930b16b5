package report

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// tableName is Problem.Object for the table, and startDaemon the remedy if masqd does not run.
const (
	tableName   = "table inet masq"
	startDaemon = "systemctl start masqd"
)

// maxSetupTime is the longest time that an ADD or a DEL may take.
const maxSetupTime = time.Minute

// Report adds a problem.
func (n *Node) Report(p Problem) { n.Problems.Add(p) }

// Note adds a remark about something that the report omits.
func (n *Node) Note(format string, args ...any) {
	n.Notes = append(n.Notes, fmt.Sprintf(format, args...))
}

// Evaluate adds the problems and notes that follow from the rest of the report, and sets the
// verdict.
func (n *Node) Evaluate(records []store.Record) {
	n.evaluateTable()
	n.evaluateLinks()
	n.evaluateState()
	n.evaluateDaemon()
	n.evaluateRecords(records)
	n.evaluateUplinks(records)
	n.evaluateEgress()
	n.evaluateFirewalls()
	n.evaluateConntrack()
	n.evaluateSpoofed()
	n.Conclude()
}

// Conclude sets the verdict that follows from the problems.
func (n *Node) Conclude() {
	n.Healthy, n.Verdict = n.Problems.Healthy(), n.Problems.Verdict()
	n.Warnings = []string{}
	for _, p := range n.Problems {
		n.Warnings = append(n.Warnings, p.Advice())
	}
}

func (n *Node) evaluateTable() {
	switch t := n.Table; {
	case t == nil:
	case t.Desired && !t.Exists:
		n.Report(NewProblem(
			SeverityError, KindTableMissing, tableName,
			fmt.Sprintf("does not exist; the traffic of %s leaves untranslated", Plural(n.Attachments.Total, "attachment")),
			Cause{
				Evidence: []Evidence{{"nftables, generation " + fmt.Sprint(t.Generation), "no table inet masq"}, {n.StateDir, "records of " + Plural(n.Attachments.Total, "attachment")}},
				Remedy:   Remedy{"start masqd, which makes it", []string{startDaemon}},
			},
		))
	case t.Owner != "":
		n.Report(NewProblem(
			SeverityError, KindTableOwned, tableName,
			fmt.Sprintf("belongs to another program, %s; the traffic of %s leaves untranslated", CleanText(t.Owner), Plural(n.Attachments.Total, "attachment")),
			Cause{Evidence: []Evidence{{"owner of table inet masq", t.Owner}}, Remedy: Remedy{Text: t.OwnerRemedy}},
		))
	case t.Unrecorded > 0:
		n.Report(NewProblem(
			SeverityError, KindStateMissing, n.StateDir,
			fmt.Sprintf("has no records of this node, and table inet masq has the rules of %s", Plural(t.Unrecorded, "attachment")),
			Cause{
				Evidence: []Evidence{{n.StateDir, "no records of this node"}, {"maps of table inet masq", "elements of " + Plural(t.Unrecorded, "attachment")}},
				Remedy:   Remedy{Text: "give masq-cni and masqd the --state-dir that the network configuration has as stateDir"},
			},
		))
	case t.Drift > t.Unread:
		n.Report(NewProblem(
			SeverityError, KindDrift, tableName,
			fmt.Sprintf("differs from the desired state in %s: traffic may leave untranslated", Plural(t.Drift-t.Unread, "place")),
			Cause{
				Evidence: evidenceOf(t.Changes),
				Remedy:   Remedy{"masq-cni inspect drift lists them; masqd repairs them", []string{startDaemon}},
			},
		))
	}
}

func (n *Node) evaluateLinks() {
	l := n.Links
	if l == nil {
		return
	}
	if l.Differences > 0 {
		n.Report(l.Problem())
	}
	if l.NotChecked > 0 {
		n.Note("the ends in %s were not compared; masq-cni inspect drift compares them if its user may enter the network namespaces", Plural(l.NotChecked, "container"))
	}
}

// evaluateState notes that the directory of records does not exist: the first ADD, or masqd,
// creates it.
func (n *Node) evaluateState() {
	if !n.StateDirMissing || n.Table != nil && n.Table.Unrecorded > 0 {
		return
	}
	n.Note("%s does not exist: no container has been added on this node yet. If the network configuration has another stateDir, give it as --state-dir", n.StateDir)
}

func (n *Node) evaluateDaemon() {
	d := n.Daemon
	switch {
	case d.Stopped:
		n.Report(NewProblem(
			SeverityError, KindDaemonStopped, "masqd",
			fmt.Sprintf("is stopped by a signal or a debugger (process %d); rules that another program removes are not restored", d.PID),
			Cause{Evidence: d.Evidence, Remedy: Remedy{Commands: []string{fmt.Sprintf("kill -CONT %d", d.PID)}}},
		))
	case d.Running && d.Elsewhere:
		n.Report(NewProblem(
			SeverityWarning, KindDaemonElsewhere, "masqd",
			fmt.Sprintf("works in another network namespace (process %d); changes in this one are not repaired", d.PID),
			Cause{Evidence: d.Evidence, Remedy: Remedy{Text: "run masqd in this network namespace, or run masq-cni with --netns and the namespace of masqd"}},
		))
	case !d.Running && !d.Expected && n.Attachments.Total > 0:
		n.Note("masqd is not in use: rules that another program removes are not restored")
	case !d.Running && n.Attachments.Total > 0:
		n.Report(NewProblem(
			SeverityWarning, KindDaemonStopped, "masqd",
			"is not running; rules that another program removes are not restored",
			Cause{Evidence: d.Evidence, Remedy: Remedy{Commands: []string{startDaemon}}},
		))
	}
	if d.NotReady != "" {
		n.Report(NewProblem(
			SeverityError, KindDaemonNotReady, "masqd", "is not ready: "+oneLine(d.NotReady),
			Cause{Evidence: d.Evidence, Remedy: Remedy{Text: "journalctl -u masqd; in a cluster kubectl logs of its pod"}},
		))
	}
	if d.ConfigurationFault != "" {
		n.Report(NewProblem(
			SeverityError, KindConfiguration, "configuration "+d.Configuration,
			"is faulty, and the last valid one is in effect: "+oneLine(d.ConfigurationFault),
			Cause{
				Evidence: []Evidence{{d.Configuration, oneLine(d.ConfigurationFault)}},
				Remedy:   Remedy{"correct the file, which masqd reads again at once, and check it", []string{"masq-cni config check " + ShellQuote(d.Configuration)}},
			},
		))
	}
}

// recordOf names the record of an attachment as the source of evidence.
func recordOf(r store.Record) string { return "record of " + r.Identity() }

// oneLine joins the lines of a text with semicolons.
func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }

// evaluateRecords reports attachments whose ADD or DEL is incomplete, and addresses that two
// attachments have. The later attachment counts as the owner of the flows.
func (n *Node) evaluateRecords(records []store.Record) {
	holders := map[netip.Addr]store.Record{}
	for _, r := range records {
		pod := CleanText(OwnerOf(r.Attachment).Pod())
		if age := n.Time.Sub(r.Created); !r.Ready && age > maxSetupTime {
			n.Report(NewProblem(
				SeverityWarning, KindNotReady, pod,
				fmt.Sprintf("has had an incomplete ADD or DEL in network %s for %s", CleanText(r.Network), span(age)),
				Cause{
					Evidence:    []Evidence{{recordOf(r), "ready: false, created: " + r.Created.UTC().Format(time.RFC3339)}},
					Attachments: []string{r.Identity()},
					Remedy:      Remedy{"the runtime's DEL or GC, or masqd, removes it", []string{startDaemon}},
				},
			))
		}
		for _, a := range r.Addresses {
			if was, ok := holders[a]; ok {
				n.Report(NewProblem(
					SeverityWarning, KindClaimedTwice, a.String(),
					fmt.Sprintf("belongs to two attachments, %s and %s; the later one, %[2]s, receives its traffic", CleanText(OwnerOf(was.Attachment).Pod()), pod),
					Cause{
						Evidence:    []Evidence{{recordOf(was), a.String()}, {recordOf(r), a.String()}},
						Attachments: []string{was.Identity(), r.Identity()},
						Remedy:      Remedy{Text: "recreate one of the two pods; use different subnets for different networks"},
					},
				))
			}
			holders[a] = r
		}
	}
}

func (n *Node) evaluateConntrack() {
	c := n.Conntrack
	if c == nil {
		return
	}
	for _, p := range slices.Concat(PortProblems(n.Ports), c.Problems(n.Losses, n.Time.Time)) {
		if p.Object == conntrackTable {
			p.Cause.Evidence = append(p.Cause.Evidence, n.holders()...)
		}
		n.Report(p)
	}
	switch text := c.Earlier(n.Losses); {
	case text == "":
	case n.Daemon.Losses != nil:
		n.Note("since boot, but not within the last five minutes: %s", text)
	default:
		n.Note("since boot, but not during this report: %s; masq-cni inspect --watch shows whether it continues", text)
	}
	if !c.Accounting {
		n.Note("packets and bytes of flows are not counted; for new flows: sysctl -w net.netfilter.nf_conntrack_acct=1")
	}
	if !c.Timestamps {
		n.Note("the start time of flows is not recorded; for new flows: sysctl -w net.netfilter.nf_conntrack_timestamp=1")
	}
}

// Plural returns a number with its noun: "1 packet", "2 packets".
func Plural[N int | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
