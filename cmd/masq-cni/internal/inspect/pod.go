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
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

func podCommand(n *node.Node, f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "pod [NAMESPACE/]NAME|CONTAINERID",
		Short: "Shows a pod or container in detail",
		Long: `Shows the attachments of a pod, or of the container whose ID begins with the argument.
The namespace can be left out if no other pod of the node has the name. For each
attachment, the output has the active policy, the drift of its rules and link, its
flows, and the connections that helpers expect.`,
		Args:              arity.One("a pod as NAMESPACE/NAME or NAME, or the beginning of a container's ID"),
		ValidArgsFunction: n.CompletePods,
		RunE: f.output.Run(func(c *cobra.Command, args []string, w output.Writer) error {
			return screen.ShowText(c, f.screen, w, "POD", func(ctx context.Context) (screen.Result[string], error) {
				all, err := readPod(ctx, n, args[0])
				text := func(w io.Writer, s report.Style) error { return report.WritePods(w, s, all, time.Now()) }
				return screen.Result[string]{Value: all, Text: text}, err
			})
		}),
	}
}

// readPod returns the attachments of a pod or container in detail.
func readPod(ctx context.Context, n *node.Node, name string) ([]report.Pod, error) {
	c, err := n.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	found, err := c.Find(name)
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
	expected, err := expectations(ctx, c)
	if err != nil {
		return nil, err
	}
	helped, err := node.QueryRules(func(c *nft.Conn) ([]nft.HelperElement, error) {
		return c.HelperElements(ruleset.SpokenMap, ruleset.OpenedMap)
	})
	if err != nil {
		return nil, err
	}
	policies := map[string]report.Policy{}
	for _, p := range c.Desired().Policies() {
		policies[p.ID] = p
	}
	var all []report.Pod
	counts := make([]report.Count, len(c.Records))
	for _, i := range found {
		t, err := node.Tally(ctx, c.Owners, c.Conn, queriesOf(c.Snapshot, []int{i}, conntrack.Filter{}), nil)
		if err != nil {
			return nil, err
		}
		counts[i] = t.ByOwner[i]
		p := report.Pod{States: t.States(), Helpers: t.Helpers(), Expectations: []report.Expectation{}}
		for _, e := range expected {
			if e.Owner == *c.Owners.At(i) {
				p.Expectations = append(p.Expectations, e)
			}
		}
		compared, err := compareAttachment(c.Snapshot, i)
		if err != nil {
			return nil, err
		}
		faults, notChecked := compare.Split(compared)
		p.Drift, p.NotChecked = report.ChangesOf(faults, c.Owners), report.ChangesOf(notChecked, c.Owners)
		p.DaemonHelpers = report.DaemonHelpersOf(helped, c.Records[i].Identity())
		all = append(all, p)
	}
	attachments := report.AttachmentsOf(c.Records, c.Desired(), counts, counters.Begun)
	for at, i := range found {
		all[at].Attachment = attachments[i]
		all[at].Dropped = report.PodDroppedOf(c.Desired().Attachments[i], dropped)
		all[at].Rules = policies[attachments[i].Policy]
	}
	return all, nil
}
