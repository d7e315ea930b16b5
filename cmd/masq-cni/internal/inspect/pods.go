package inspect

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/screen"
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func podsCommand(n *node.Node, f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "pods",
		Short: "Lists the attachments, with what their flows come to",
		Long: `Lists the attachments of the node, a line each. FLOWS, TRANSLATED, INCOMING and
BYTES are of the flows in the kernel's table now; BEGUN counts the flows that began
since the attachment's rules were made.`,
		Args: arity.None,
		RunE: f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error {
			s := screen.Table(w, "attachments", report.AttachmentColumns(time.Now), "FLOWS")
			return screen.Show(c, f.screen, w, s, func(ctx context.Context) (screen.Result[report.Attachment], error) {
				all, unread, err := attachments(ctx, n)
				text := func(w io.Writer, s report.Style) error { return report.WriteAttachments(w, s, all, time.Now()) }
				return screen.Result[report.Attachment]{Value: all, Text: text, Rows: all, Remarks: screen.Remarks{Fault: unread}}, err
			})
		}),
	}
}

// attachments are all of the node, with what their flows come to. Unread are the
// records that cannot be read.
func attachments(ctx context.Context, n *node.Node) (all []report.Attachment, unread, err error) {
	v, err := n.Open()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = v.Close() }()
	t, err := tally(ctx, v.Owners, v.Conn, []node.Query{{}}, nil)
	if err != nil {
		return nil, nil, err
	}
	counters, err := node.QueryRules((*nft.Conn).Counters)
	if err != nil {
		return nil, nil, err
	}
	return report.AttachmentsOf(v.Records, v.Desired(), t.ByOwner, counters.Begun), v.Unread, nil
}

func podCommand(n *node.Node, f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "pod [NAMESPACE/]NAME|CONTAINERID",
		Short: "Shows all that is known of a pod or container",
		Long: `Shows the attachments of a pod, or of the container whose ID begins as given; a pod
that is the only one of its name on the node needs no namespace. Shown are the
policy that is in force, what the kernel lacks of their rules, their flows, and what
helpers wait for.`,
		Args:              arity.One("a pod as NAMESPACE/NAME or NAME, or the beginning of a container's ID"),
		ValidArgsFunction: n.CompletePods,
		RunE: f.output.Run(func(c *cobra.Command, args []string, w output.Writer) error {
			return screen.ShowText(c, f.screen, w, "POD", func(ctx context.Context) (screen.Result[string], error) {
				all, err := pods(ctx, n, args[0])
				text := func(w io.Writer, s report.Style) error { return report.WritePods(w, s, all, time.Now()) }
				return screen.Result[string]{Value: all, Text: text}, err
			})
		}),
	}
}

// pods are the attachments of a pod, or of a container, with all that is known of them.
func pods(ctx context.Context, n *node.Node, name string) ([]report.Pod, error) {
	v, err := n.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = v.Close() }()
	chosen, err := v.Find(name)
	if err != nil {
		return nil, err
	}
	counters, err := node.QueryRules((*nft.Conn).Counters)
	if err != nil {
		return nil, err
	}
	dropped, err := node.QueryRules((*nft.Conn).Dropped)
	if err != nil {
		return nil, err
	}
	var expected []report.Expectation
	for e, err := range v.Expectations(ctx) {
		if err != nil {
			return nil, err
		}
		expected = append(expected, report.ExpectationOf(e, v.Owners))
	}
	policies := map[string]report.Policy{}
	for _, p := range v.Desired().Policies() {
		policies[p.ID] = p
	}
	var all []report.Pod
	counts := make([]report.Count, len(v.Records))
	for _, i := range chosen {
		t, err := tally(ctx, v.Owners, v.Conn, queries(v.Snapshot, []int{i}, conntrack.Filter{}), nil)
		if err != nil {
			return nil, err
		}
		counts[i] = t.ByOwner[i]
		p := report.Pod{States: t.States(), Helpers: t.Helpers(), Expectations: []report.Expectation{}}
		for _, e := range expected {
			if e.Owner == *v.Owners.At(i) {
				p.Expectations = append(p.Expectations, e)
			}
		}
		compared, err := compareOne(v.Snapshot, i)
		if err != nil {
			return nil, err
		}
		faults, notChecked := compare.Split(compared)
		p.Drift, p.NotChecked = report.ChangesOf(faults, v.Owners), report.ChangesOf(notChecked, v.Owners)
		all = append(all, p)
	}
	attachments := report.AttachmentsOf(v.Records, v.Desired(), counts, counters.Begun)
	for at, i := range chosen {
		all[at].Attachment = attachments[i]
		all[at].Dropped = report.PodDroppedOf(v.Desired().Attachments[i], dropped)
		all[at].Rules = policies[attachments[i].Policy]
	}
	return all, nil
}

// few is how many addresses are asked for one by one, before all flows are read at
// once.
const few = 8

// queries choose the flows that attachments began and those that reached them, each
// once, and of these what base chooses. The kernel chooses IPv4 addresses itself.
func queries(v node.Snapshot, attachments []int, base conntrack.Filter) []node.Query {
	of := map[int]bool{}
	for _, i := range attachments {
		of[i] = true
	}
	began := func(f *conntrack.Flow) bool { return of[v.Owners.Index(f.Original.Src)] }
	reached := func(f *conntrack.Flow) bool { return of[v.Owners.Index(f.Reply.Src)] }
	neither := func(f *conntrack.Flow) bool { return !began(f) && !reached(f) }
	var out []node.Query
	six := false
	for _, i := range attachments {
		for _, a := range v.Records[i].Addresses {
			if !a.Is4() {
				six = true
				continue
			}
			if base.Family == masq.IPv6 {
				continue
			}
			from, to := base, base
			from.Original.Src, to.Reply.Src = a, a
			out = append(out, node.Query{Filter: from, Except: neither}, node.Query{Filter: to, Except: func(f *conntrack.Flow) bool { return !reached(f) || began(f) }})
		}
	}
	if len(out) > 2*few {
		return []node.Query{{Filter: base, Except: neither}}
	}
	if six && base.Family != masq.IPv4 {
		base.Family = masq.IPv6
		out = append(out, node.Query{Filter: base, Except: neither})
	}
	return out
}
