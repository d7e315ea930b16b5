package inspect

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/screen"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func portsCommand(n *node.Node, f *flags) *cobra.Command {
	var limit int
	var measure time.Duration
	c := &cobra.Command{
		Use:   "ports",
		Short: "Shows where source ports run out, and when",
		Long: fmt.Sprintf(`Flows of one protocol from one egress address to one destination and port need
different source ports. Shows the fullest of these groups: how many ports are in use, of
those that the policies of their containers allow; the time until none is left, at the
rate at which they are taken; and the pods that hold the most of them. LEVEL is notice
from %.0f%%, warning from %.0f%%, critical from %.0f%%, and warning if the last port will be
taken within %s and %.0f%% are in use.

Since Linux 6.5, a new connection takes the port of a closed one (TIME_WAIT) if no other
is free: such ports are not in use, CLOSING of -o wide counts them. On older kernels
they are.

A new flow without a free port is dropped. The kernel counts the packets for the whole
node, and not whose they were.`, 100*portpool.NoticeShare, 100*portpool.WarningShare, 100*portpool.CriticalShare,
			strings.TrimSuffix(portpool.WarningTime.String(), "0s"), 100*portpool.WarningTimeShare),
		Args: arity.None,
	}
	c.Flags().IntVar(&limit, "limit", 20, "the most groups to show, `N` from 1 to 500")
	c.Flags().DurationVar(&measure, "measure", time.Second, "how long to measure the rate; 0: not at all; with --watch it is measured from one reading to the next")
	c.RunE = f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error {
		if limit < 1 || limit > 500 {
			return fmt.Errorf("--limit %d is not known; give a number of groups from 1 to 500", limit)
		}
		if measure < 0 {
			return fmt.Errorf("--measure %s is below 0; give a duration such as 5s", measure)
		}
		m := portpool.NewMonitor(portpool.Options{Groups: limit, Holders: report.MaxHolders, ReusesClosed: portpool.ReusesClosed()})
		sampled := false // and so there is a rate
		return screen.Show(c, f.screen, w, screen.Table(w, "groups", report.PortColumns(), "SHARE"), func(ctx context.Context) (r screen.Result[report.PortGroup], err error) {
			v, err := n.Open()
			if err != nil {
				return r, err
			}
			defer func() { _ = v.Close() }()
			// Who watches has the rate from the look before.
			if !f.screen.Watch && measure > 0 {
				if _, err := sample(ctx, v, m); err != nil {
					return r, err
				}
				if err := pause(ctx, measure); err != nil {
					return r, err
				}
				sampled = true
			}
			s, err := sample(ctx, v, m)
			if err != nil {
				return r, err
			}
			p := report.PortsOf(s, sampled, v.Owners)
			sampled = true
			return screen.Result[report.PortGroup]{Value: p, Text: p.WriteText, Rows: p.Groups, Remarks: screen.Remarks{Note: strings.Join(p.Remarks(), " "), Fault: v.Unread}}, nil
		})
	})
	return c
}

// sample takes a sample.
func sample(ctx context.Context, v node.Conn, m *portpool.Monitor) (*portpool.Sample, error) {
	return m.Sample(ctx, time.Now(), v.Conn, portPools(v.Snapshot))
}

// portPools are the pools that the attachments draw their ports from.
func portPools(v node.Snapshot) *portpool.Pools {
	d := v.Desired()
	return portpool.PoolsOf(d.Attachments, d.Sources.Prefixes, d.Sources.Policy)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
