package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/pressure"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// ports is the source port pressure of a node, as it is written.
type ports struct {
	Time   report.Time `json:"time"`
	Groups []portGroup `json:"groups"`
	// Beyond is the share that no group has more of that is not among Groups.
	Beyond float64 `json:"beyond"`
	// Failed is the number of packets, of the whole node, that no port could be had
	// for; FailedNow of these came while the rate was measured.
	Failed    uint64 `json:"failed"`
	FailedNow uint64 `json:"failedNow"`
}

// portGroup is a pressure.Pressure.
type portGroup struct {
	Protocol        string           `json:"protocol"`
	Egress          netip.Addr       `json:"egress"`
	Destination     netip.Addr       `json:"destination"`
	DestinationPort uint16           `json:"destinationPort"`
	ICMP            *icmpRequest     `json:"icmp,omitempty"`
	Zone            uint16           `json:"zone"`
	Ports           []pressure.Range `json:"ports"`
	Used            int              `json:"used"`
	Closing         int              `json:"closing"`
	Usable          int              `json:"usable"`
	Share           float64          `json:"share"`
	Level           pressure.Level   `json:"level"`
	// Rate is null where it was not measured.
	Rate *float64 `json:"rate"`
	// ExhaustedIn is null where no end is foreseen.
	ExhaustedIn *report.Seconds `json:"exhaustedIn"`
}

type icmpRequest struct {
	Type uint8 `json:"type"`
	Code uint8 `json:"code"`
}

func portsOf(s *pressure.Sample, measured bool) ports {
	out := ports{Time: report.Time{Time: s.Time.UTC()}, Groups: []portGroup{}, Beyond: s.Beyond, Failed: s.Failed, FailedNow: s.FailedNow}
	for i := range s.Groups {
		g := &s.Groups[i]
		p := portGroup{
			Protocol: report.Protocol(g.Protocol), Egress: g.Egress, Destination: g.Destination, DestinationPort: g.Port, Zone: g.Zone,
			Ports: g.Ranges, Used: g.Used, Closing: g.Closing, Usable: g.Usable, Share: g.Share(), Level: g.Level,
		}
		if strings.HasPrefix(p.Protocol, "icmp") {
			p.DestinationPort, p.ICMP = 0, &icmpRequest{uint8(g.Port >> 8), uint8(g.Port)}
		}
		if measured {
			p.Rate = &g.Rate
		}
		if g.ExhaustedIn != pressure.Never {
			left := report.Seconds(g.ExhaustedIn)
			p.ExhaustedIn = &left
		}
		out.Groups = append(out.Groups, p)
	}
	return out
}

// WriteText writes a table for a person.
func (p ports) WriteText(w io.Writer, s report.Style) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { _, _ = fmt.Fprintln(t, strings.Join(cells, "\t")) } // Flush has the error
	head := []string{"PROTO", "EGRESS", "DESTINATION", "USED", "USABLE", "SHARE", "LEVEL", "RATE", "EXHAUSTED"}
	if s.Wide {
		head = append(head, "CLOSING", "PORTS", "ZONE")
	}
	row(head...)
	for _, g := range p.Groups {
		cells := []string{
			g.Protocol, g.Egress.String(), g.to(), strconv.Itoa(g.Used), strconv.Itoa(g.Usable),
			fmt.Sprintf("%.1f%%", 100*g.Share), g.Level.String(), "-", "-",
		}
		if g.Rate != nil {
			cells[7] = fmt.Sprintf("%+.1f/s", *g.Rate)
		}
		if g.ExhaustedIn != nil {
			cells[8] = "in " + time.Duration(*g.ExhaustedIn).Round(time.Second).String()
			if *g.ExhaustedIn == 0 {
				cells[8] = "now"
			}
		}
		if s.Wide {
			var ranges []string
			for _, r := range g.Ports {
				ranges = append(ranges, r.String())
			}
			cells = append(cells, strconv.Itoa(g.Closing), strings.Join(ranges, ","), strconv.Itoa(int(g.Zone)))
		}
		row(cells...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if p.Beyond > 0 {
		if _, err := fmt.Fprintf(w, "\nNo other has more than %.1f%% in use.\n", 100*p.Beyond); err != nil {
			return err
		}
	}
	if p.Failed == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\nPackets of this node that were dropped since no port was left for them: %d, just now %d.\n", p.Failed, p.FailedNow)
	return err
}

func (g portGroup) to() string {
	if g.ICMP != nil {
		return fmt.Sprintf("%s type %d", g.Destination, g.ICMP.Type)
	}
	return netip.AddrPortFrom(g.Destination, g.DestinationPort).String()
}

func inspectPortsCommand(n *node, out *output) *cobra.Command {
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
	c.Flags().DurationVar(&measure, "measure", time.Second, "how long to measure the rate; 0: not at all")
	c.RunE = out.run(func(c *cobra.Command, _ []string, a answer) error {
		if limit < 1 || limit > 500 {
			return fmt.Errorf("--limit %d is not known; give a number of groups from 1 to 500", limit)
		}
		if measure < 0 {
			return fmt.Errorf("--measure %s is below 0; give a duration such as 5s", measure)
		}
		v, err := n.live()
		if err != nil {
			return err
		}
		defer func() { _ = v.Close() }()
		s, err := v.pressure(c.Context(), limit, measure)
		if err != nil {
			return err
		}
		p := portsOf(s, measure > 0)
		if err := a.show(p, p.WriteText); err != nil {
			return err
		}
		return v.unread
	})
	return c
}

// pressure takes a sample, or two, so far apart, to know the rate.
func (v live) pressure(ctx context.Context, most int, apart time.Duration) (*pressure.Sample, error) {
	pools := pressure.PoolsOf(v.desired.Attachments, v.desired.Sources.Prefixes, v.desired.Sources.Policy)
	m := pressure.NewMonitor(most)
	s, err := m.Sample(ctx, time.Now(), v.Conn, pools)
	if err != nil || apart == 0 {
		return s, err
	}
	wait := time.NewTimer(apart)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-wait.C:
	}
	return m.Sample(ctx, time.Now(), v.Conn, pools)
}
