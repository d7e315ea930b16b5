package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/pressure"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func inspectPortsCommand(n *node, out *output, w *watching) *cobra.Command {
	var limit int
	var measure time.Duration
	c := &cobra.Command{
		Use:   "ports",
		Short: "Shows where source ports run out, and when",
		Long: fmt.Sprintf(`Flows of one protocol from one egress address to one destination and port need
different source ports. Shows the fullest of these groups: ports in use, of those that
the policies of their containers allow, whoever has them; how fast they become more;
when none will be left at that rate. LEVEL is notice from %.0f%%, warning from %.0f%%,
critical from %.0f%%, and warning where the end is near: within %s, from %.0f%%.

A flow for which no port is left is dropped, and the kernel does not tell whose it
was; it counts the packets for the whole node.`, 100*pressure.NoticeShare, 100*pressure.WarningShare, 100*pressure.CriticalShare,
			strings.TrimSuffix(pressure.Soon.String(), "0s"), 100*pressure.SoonShare),
		Args: cobra.NoArgs,
	}
	c.Flags().IntVar(&limit, "limit", 20, "the most groups to show, `N` from 1 to 500")
	c.Flags().DurationVar(&measure, "measure", time.Second, "how long to measure the rate; 0: not at all. With --watch it is that of the time between looks")
	c.RunE = out.run(func(c *cobra.Command, _ []string, a answer) error {
		if limit < 1 || limit > 500 {
			return fmt.Errorf("--limit %d is not known; give a number of groups from 1 to 500", limit)
		}
		if measure < 0 {
			return fmt.Errorf("--measure %s is below 0; give a duration such as 5s", measure)
		}
		m := pressure.NewMonitor(limit)
		sampled := false // and so there is a rate
		return show(c, *w, a, table(a, "groups", report.PortColumns(), "SHARE"), func(ctx context.Context) (f found[report.PortGroup], err error) {
			v, err := n.live()
			if err != nil {
				return f, err
			}
			defer func() { _ = v.Close() }()
			// Who watches has the rate from the look before.
			if !w.on && measure > 0 {
				if _, err := v.pressure(ctx, m); err != nil {
					return f, err
				}
				if err := pause(ctx, measure); err != nil {
					return f, err
				}
				sampled = true
			}
			s, err := v.pressure(ctx, m)
			if err != nil {
				return f, err
			}
			p := report.PortsOf(s, sampled)
			sampled = true
			return found[report.PortGroup]{value: p, text: p.WriteText, rows: p.Groups, remarks: remarks{strings.Join(p.Remarks(), " "), v.unread}}, nil
		})
	})
	return c
}

// pressure takes a sample.
func (v live) pressure(ctx context.Context, m *pressure.Monitor) (*pressure.Sample, error) {
	pools := pressure.PoolsOf(v.desired().Attachments, v.desired().Sources.Prefixes, v.desired().Sources.Policy)
	return m.Sample(ctx, time.Now(), v.Conn, pools)
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
