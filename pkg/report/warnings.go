package report

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// settling is how long an ADD or a DEL may reasonably take.
const settling = time.Minute

// Report adds a problem.
func (n *Node) Report(p Problem) { n.Problems.Add(p) }

// Note adds a remark on what the report does not tell.
func (n *Node) Note(format string, args ...any) {
	n.Notes = append(n.Notes, fmt.Sprintf(format, args...))
}

// Judge adds the problems and notes that follow from the rest of the report, and the
// verdict.
func (n *Node) Judge(records []store.Record) {
	n.judgeTable()
	n.judgeLinks()
	n.judgeState()
	n.judgeDaemon()
	n.judgeRecords(records)
	n.judgeUplinks(records)
	n.judgeEgress()
	n.judgeFirewalls()
	n.judgeConntrack()
	n.Healthy, n.Verdict = n.Problems.Healthy(), n.Problems.Verdict()
	n.Warnings = []string{}
	for _, p := range n.Problems {
		n.Warnings = append(n.Warnings, p.Advice())
	}
}

func (n *Node) judgeTable() {
	switch t := n.Table; {
	case t == nil:
	case t.Wanted && !t.Exists:
		n.Report(Problem{
			SeverityError, KindTableMissing, "table inet masq",
			fmt.Sprintf("does not exist; the traffic of %s leaves untranslated", Plural(n.Attachments.Total, "attachment")),
			"start masqd, which makes it: systemctl start masqd",
		})
	case t.Owner != "":
		n.Report(Problem{
			SeverityError, KindTableOwned, "table inet masq",
			fmt.Sprintf("belongs to another program, %s; the traffic of %s leaves untranslated", Sentence(t.Owner), Plural(n.Attachments.Total, "attachment")),
			t.OwnerRemedy,
		})
	case t.Unrecorded > 0:
		n.Report(Problem{
			SeverityError, KindStateMissing, n.StateDir,
			fmt.Sprintf("has no records of this node, and table inet masq has the rules of %s", Plural(t.Unrecorded, "attachment")),
			"give masq-cni and masqd the --state-dir that the network configuration has as stateDir",
		})
	case t.Drift > 0:
		n.Report(Problem{
			SeverityError, KindDrift, "table inet masq",
			fmt.Sprintf("differs from the desired state in %s: traffic may leave untranslated", Plural(t.Drift, "place")),
			"masq-cni inspect drift lists them; masqd repairs them: systemctl start masqd",
		})
	}
}

func (n *Node) judgeLinks() {
	l := n.Links
	if l == nil {
		return
	}
	if l.Differences > 0 {
		n.Report(Problem{
			SeverityError, KindLinkDrift, "links of containers",
			fmt.Sprintf("differ from what ADD made in %s, the first: %s", Plural(l.Differences, "place"), l.First),
			"masq-cni inspect drift lists them; masqd restores the node's side, a new container the other",
		})
	}
	if l.NotChecked > 0 {
		n.Note("the ends of %s were not compared; masq-cni inspect drift compares all that it may enter", Plural(l.NotChecked, "container"))
	}
}

// judgeState reports a directory of records that does not exist: the first ADD makes
// it, and masqd.
func (n *Node) judgeState() {
	if !n.StateDirMissing || n.Table != nil && n.Table.Unrecorded > 0 {
		return
	}
	n.Report(Problem{
		SeverityWarning, KindStateMissing, n.StateDir,
		"does not exist: no container has been added on this node yet, or the records are in another directory",
		"give the stateDir of the network configuration: masq-cni inspect --state-dir DIR",
	})
}

func (n *Node) judgeDaemon() {
	d := n.Daemon
	switch {
	case d.Stopped:
		n.Report(Problem{
			SeverityError, KindDaemonStopped, "masqd",
			fmt.Sprintf("process %d is stopped by a signal or a debugger; rules that another program removes stay away", d.PID),
			fmt.Sprintf("kill -CONT %d", d.PID),
		})
	case d.Running && d.Elsewhere:
		n.Report(Problem{
			SeverityWarning, KindDaemonElsewhere, "masqd",
			fmt.Sprintf("process %d works in another network namespace; what is changed in this one stays changed", d.PID),
			"run masqd in this network namespace, or give masq-cni the one of masqd with --netns",
		})
	case !d.Running && n.Attachments.Total > 0:
		n.Report(Problem{
			SeverityWarning, KindDaemonStopped, "masqd",
			"is not running; rules that another program removes stay away",
			"systemctl start masqd",
		})
	}
	if d.NotReady != "" {
		n.Report(Problem{SeverityError, KindDaemonNotReady, "masqd", "is not ready: " + oneLine(d.NotReady), "journalctl -u masqd; in a cluster kubectl logs of its pod"})
	}
	if d.ConfigurationFault != "" {
		n.Report(Problem{
			SeverityError, KindConfiguration, "configuration " + d.Configuration,
			"is faulty, and the last valid one is in effect: " + oneLine(d.ConfigurationFault),
			"correct the file, which masqd reads again at once, and check it: masq-cni config check " + shellQuote(d.Configuration),
		})
	}
}

// oneLine joins the lines of a text.
func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }

// judgeRecords reports attachments that are neither added nor removed, and addresses
// that two of them have: the later one is taken to be behind all flows.
func (n *Node) judgeRecords(records []store.Record) {
	holders := map[netip.Addr]store.Record{}
	for _, r := range records {
		pod := Sentence(OwnerOf(r.Attachment).Pod())
		if age := n.Time.Sub(r.Created); !r.Ready && age > settling {
			n.Report(Problem{
				SeverityWarning, KindNotReady, pod,
				fmt.Sprintf("network %s: its ADD or DEL has been incomplete for %s", Sentence(r.Network), span(age)),
				"DEL by the runtime, GC or masqd removes what is left: systemctl start masqd",
			})
		}
		for _, a := range r.Addresses {
			if was, ok := holders[a]; ok {
				n.Report(Problem{
					SeverityWarning, KindClaimedTwice, a.String(),
					fmt.Sprintf("two attachments have it, %s and %s; the later one, %[2]s, receives its traffic", Sentence(OwnerOf(was.Attachment).Pod()), pod),
					"recreate one of the two pods; give each network a subnet of its own",
				})
			}
			holders[a] = r
		}
	}
}

func (n *Node) judgeConntrack() {
	c := n.Conntrack
	if c == nil {
		return
	}
	for _, p := range slices.Concat(PortProblems(n.Ports), c.Problems(n.Losses, n.Time.Time)) {
		n.Report(p)
	}
	switch text := c.Earlier(n.Losses); {
	case text == "":
	case n.Daemon.Losses != nil:
		n.Note("since boot, but not within the last five minutes: %s", text)
	default:
		n.Note("since boot, but not while this was read: %s; masq-cni inspect --watch shows whether it goes on", text)
	}
	if !c.Accounting {
		n.Note("packets and bytes of flows are not counted; sysctl net.netfilter.nf_conntrack_acct=1 counts those that begin from then on")
	}
	if !c.Timestamps {
		n.Note("when flows began is not kept; sysctl net.netfilter.nf_conntrack_timestamp=1 keeps it of those that begin from then on")
	}
}

func Plural[N int | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
