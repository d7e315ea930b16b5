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
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func podsCommand(n *node.Node, f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "pods",
		Short: "Lists the attachments with the numbers of their flows",
		Long: `Lists the attachments of the node, one per line. FLOWS, TRANSLATED, INCOMING and BYTES
are about the flows that the conntrack table has now. BEGUN is the number of flows that
began since the attachment's rules were made.`,
		Args: arity.None,
		RunE: f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error {
			s := screen.Table(w, "attachments", report.AttachmentColumns(time.Now), "FLOWS")
			return screen.Show(c, f.screen, w, s, func(ctx context.Context) (screen.Result[report.Attachment], error) {
				all, unread, err := readAttachments(ctx, n)
				text := func(w io.Writer, s report.Style) error { return report.WriteAttachments(w, s, all, time.Now()) }
				return screen.Result[report.Attachment]{Value: all, Text: text, Rows: all, Remarks: screen.Remarks{Fault: unread}}, err
			})
		}),
	}
}

// readAttachments returns all attachments of the node. unread is the error of records that
// cannot be read.
func readAttachments(ctx context.Context, n *node.Node) (all []report.Attachment, unread, err error) {
	c, err := n.Open()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = c.Close() }()
	t, err := node.Tally(ctx, c.Owners, c.Conn, []node.Query{{}}, nil)
	if err != nil {
		return nil, nil, err
	}
	counters, err := node.QueryRules((*nft.Conn).Counters)
	if err != nil {
		return nil, nil, err
	}
	return report.AttachmentsOf(c.Records, c.Desired(), t.ByOwner, counters.Begun), c.Unread, nil
}
