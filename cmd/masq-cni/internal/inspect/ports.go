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

// maxGroups is the greatest number of groups of flows that the command ports shows.
const maxGroups = 500

func portsCommand(n *node.Node, f *flags) *cobra.Command {
	var limit int
	var measure time.Duration
	c := &cobra.Command{
		Use:   "ports",
		Short: "Shows where source ports run out, and when",
		Long: fmt.Sprintf(`Flows of one protocol from one egress address to one destination and port need
different source ports. Lists these groups of flows, those with the most ports in use
first: how many ports are in use, of the ports that the policies of their containers
allow; the time until no port is left, at the present rate; and the pods that use the
most ports. LEVEL is notice from %.0f%%, warning from %.0f%%, critical from %.0f%%. It is also
warning if the last port will be in use within %s and %.0f%% are in use.

Since Linux 6.5, a new connection takes the port of a closed one (TIME_WAIT) if no other
port is free. Such ports are not in use; CLOSING of -o wide counts them. On older kernels
they are in use.

The kernel drops a new flow without a free port. It counts these packets for the whole
node, not for each pod.`, 100*portpool.NoticeShare, 100*portpool.WarningShare, 100*portpool.CriticalShare,
			strings.TrimSuffix(portpool.WarningTime.String(), "0s"), 100*portpool.WarningTimeShare),
		Args: arity.None,
	}
	c.Flags().IntVar(&limit, "limit", 20, fmt.Sprintf("show at most `N` groups, from 1 to %d", maxGroups))
	c.Flags().DurationVar(&measure, "measure", time.Second, "how long to measure the rate; 0 shows no rate; with --watch the rate is measured between readings")
	c.RunE = f.output.Run(func(c *cobra.Command, _ []string, w output.Writer) error {
		if limit < 1 || limit > maxGroups {
			return fmt.Errorf("--limit %d is not a number from 1 to %d", limit, maxGroups)
		}
		if measure < 0 {
			return fmt.Errorf("--measure %s is below 0; give a duration such as 5s", measure)
		}
		m := portpool.NewMonitor(portpool.Options{Groups: limit, Holders: report.MaxHolders, ReusesClosed: portpool.ReusesClosed()})
		hasRate := false
		return screen.Show(c, f.screen, w, screen.Table(w, "groups", report.PortColumns(), "SHARE"), func(ctx context.Context) (r screen.Result[report.PortGroup], err error) {
			c, err := n.Open()
			if err != nil {
				return r, err
			}
			defer func() { _ = c.Close() }()
			if !f.screen.Watch && measure > 0 {
				if _, err := samplePorts(ctx, c, m); err != nil {
					return r, err
				}
				if err := sleep(ctx, measure); err != nil {
					return r, err
				}
				hasRate = true
			}
			s, err := samplePorts(ctx, c, m)
			if err != nil {
				return r, err
			}
			p := report.PortsOf(s, hasRate, c.Owners)
			hasRate = true // the next reading has this one to compare with
			return screen.Result[report.PortGroup]{
				Value: p, Text: p.WriteText, Rows: p.Groups,
				Remarks: screen.Remarks{Note: strings.Join(p.Remarks(), " "), Fault: c.Unread},
			}, nil
		})
	})
	return c
}

func samplePorts(ctx context.Context, c node.Conn, m *portpool.Monitor) (*portpool.Sample, error) {
	return m.Sample(ctx, time.Now(), c.Conn, c.PortPools())
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
