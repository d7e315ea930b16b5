package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func inspectPodsCommand(n *node, out *output, w *watching) *cobra.Command {
	return &cobra.Command{
		Use:   "pods",
		Short: "Lists the attachments, with what their flows come to",
		Long: `Lists the attachments of the node, a line each. FLOWS, TRANSLATED, INCOMING and
BYTES are of the flows in the kernel's table now; BEGUN counts the flows that began
since the attachment's rules were made.`,
		Args: arity.None,
		RunE: out.run(func(c *cobra.Command, _ []string, a answer) error {
			s := table(a, "attachments", report.AttachmentColumns(time.Now), "FLOWS")
			return show(c, *w, a, s, func(ctx context.Context) (found[report.Attachment], error) {
				all, unread, err := n.attachments(ctx)
				text := func(w io.Writer, s report.Style) error { return report.WriteAttachments(w, s, all, time.Now()) }
				return found[report.Attachment]{value: all, text: text, rows: all, remarks: remarks{fault: unread}}, err
			})
		}),
	}
}

// attachments are all of the node, with what their flows come to. Unread are the
// records that cannot be read.
func (n *node) attachments(ctx context.Context) (all []report.Attachment, unread, err error) {
	v, err := n.live()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = v.Close() }()
	t, err := v.tally(ctx, v.Conn, []query{{}})
	if err != nil {
		return nil, nil, err
	}
	counters, err := rules((*nft.Conn).Counters)
	if err != nil {
		return nil, nil, err
	}
	return report.AttachmentsOf(v.records, v.desired(), t.ByOwner, counters.Begun), v.unread, nil
}

func inspectPodCommand(n *node, out *output, w *watching) *cobra.Command {
	return &cobra.Command{
		Use:   "pod [NAMESPACE/]NAME|CONTAINERID",
		Short: "Shows all that is known of a pod or container",
		Long: `Shows the attachments of a pod, or of the container whose ID begins as given; a pod
that is the only one of its name on the node needs no namespace. Shown are the
policy that is in force, what the kernel lacks of their rules, their flows, and what
helpers wait for.`,
		Args:              arity.One("a pod as NAMESPACE/NAME or NAME, or the beginning of a container's ID"),
		ValidArgsFunction: n.completePods,
		RunE: out.run(func(c *cobra.Command, args []string, a answer) error {
			return showText(c, *w, a, "POD", func(ctx context.Context) (found[string], error) {
				all, err := n.pods(ctx, args[0])
				text := func(w io.Writer, s report.Style) error { return report.WritePods(w, s, all, time.Now()) }
				return found[string]{value: all, text: text}, err
			})
		}),
	}
}

// pods are the attachments of a pod, or of a container, with all that is known of them.
func (n *node) pods(ctx context.Context, name string) ([]report.Pod, error) {
	v, err := n.live()
	if err != nil {
		return nil, err
	}
	defer func() { _ = v.Close() }()
	chosen, err := v.find(name)
	if err != nil {
		return nil, err
	}
	counters, err := rules((*nft.Conn).Counters)
	if err != nil {
		return nil, err
	}
	dropped, err := rules((*nft.Conn).Dropped)
	if err != nil {
		return nil, err
	}
	var expected []report.Expectation
	for e, err := range v.Expectations(ctx) {
		if err != nil {
			return nil, err
		}
		expected = append(expected, report.ExpectationOf(e, v.owners))
	}
	policies := map[string]report.Policy{}
	for _, p := range v.desired().Policies() {
		policies[p.ID] = p
	}
	var all []report.Pod
	counts := make([]report.Count, len(v.records))
	for _, i := range chosen {
		t, err := v.tally(ctx, v.Conn, v.queries([]int{i}, conntrack.Filter{}))
		if err != nil {
			return nil, err
		}
		counts[i] = t.ByOwner[i]
		p := report.Pod{States: t.States(), Helpers: t.Helpers(), Expectations: []report.Expectation{}}
		for _, e := range expected {
			if e.Owner == *v.owners.At(i) {
				p.Expectations = append(p.Expectations, e)
			}
		}
		compared, err := v.lacks(i)
		if err != nil {
			return nil, err
		}
		faults, notChecked := compare.Split(compared)
		p.Drift, p.NotChecked = report.ChangesOf(faults, v.owners), report.ChangesOf(notChecked, v.owners)
		all = append(all, p)
	}
	attachments := report.AttachmentsOf(v.records, v.desired(), counts, counters.Begun)
	for at, i := range chosen {
		all[at].Attachment = attachments[i]
		all[at].Dropped = report.PodDroppedOf(v.desired().Attachments[i], dropped)
		all[at].Rules = policies[attachments[i].Policy]
	}
	return all, nil
}

// few is how many addresses are asked for one by one, before all flows are read at
// once.
const few = 8

// queries choose the flows that attachments began and those that reached them, each
// once, and of these what base chooses. The kernel chooses IPv4 addresses itself.
func (v view) queries(attachments []int, base conntrack.Filter) []query {
	of := map[int]bool{}
	for _, i := range attachments {
		of[i] = true
	}
	began := func(f *conntrack.Flow) bool { return of[v.owners.Index(f.Original.Src)] }
	reached := func(f *conntrack.Flow) bool { return of[v.owners.Index(f.Reply.Src)] }
	neither := func(f *conntrack.Flow) bool { return !began(f) && !reached(f) }
	var out []query
	six := false
	for _, i := range attachments {
		for _, a := range v.records[i].Addresses {
			if !a.Is4() {
				six = true
				continue
			}
			if base.Family == masq.IPv6 {
				continue
			}
			from, to := base, base
			from.Original.Src, to.Reply.Src = a, a
			out = append(out, query{Filter: from, except: neither}, query{Filter: to, except: func(f *conntrack.Flow) bool { return !reached(f) || began(f) }})
		}
	}
	if len(out) > 2*few {
		return []query{{Filter: base, except: neither}}
	}
	if six && base.Family != masq.IPv4 {
		base.Family = masq.IPv6
		out = append(out, query{Filter: base, except: neither})
	}
	return out
}
