package report

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/portpool"
)

// Ports is the use of source ports on a node.
type Ports struct {
	Time   Time        `json:"time"`
	Groups []PortGroup `json:"groups"`
	// Beyond is an upper bound of Share for groups that are not in Groups.
	Beyond float64 `json:"beyond"`
	// Failed is the number of packets of new flows on the node that were dropped because
	// another flow had their addresses and ports, as when no source port is free. FailedNow
	// is the number of them while the rate was measured.
	Failed    uint64 `json:"failed"`
	FailedNow uint64 `json:"failedNow"`
	// Full is the number of packets of new flows on the node that were dropped because the
	// conntrack table was full, or the kernel had no memory. FullNow is the number of them
	// while the rate was measured.
	Full    uint64 `json:"full"`
	FullNow uint64 `json:"fullNow"`
	// ReusesClosing is true if the kernel reuses ports of closed TCP flows for new flows.
	// Then Used does not include Closing.
	ReusesClosing bool `json:"reusesClosing"`
}

// PortGroup is a portpool.Forecast.
type PortGroup struct {
	Protocol        string           `json:"protocol"`
	Egress          netip.Addr       `json:"egress"`
	Destination     netip.Addr       `json:"destination"`
	DestinationPort uint16           `json:"destinationPort"`
	ICMP            *ICMPRequest     `json:"icmp,omitempty"`
	Zone            uint16           `json:"zone"`
	Ports           []portpool.Range `json:"ports"`
	Used            int              `json:"used"`
	// Closing is the number of ports of closed TCP flows whose timeout has not expired.
	Closing  int               `json:"closing"`
	Usable   int               `json:"usable"`
	Share    float64           `json:"share"`
	Severity portpool.Severity `json:"level"`
	// Rate is the growth of Used in ports per second, null if it was not measured.
	Rate *float64 `json:"rate"`
	// ExhaustedIn is the time until no port is free at this rate, null if Used does not grow.
	ExhaustedIn *Seconds `json:"exhaustedIn"`
	// Holders are the sources with the most ports, in descending order.
	Holders []PortHolder `json:"holders"`
}

// MaxHolders is the largest number of holders of a group.
const MaxHolders = 5

// PortHolder is a source that uses ports of a group. Owner is empty if Address is in
// sourceCIDRs and not an attachment.
type PortHolder struct {
	Owner
	Address netip.Addr `json:"address"`
	Ports   int        `json:"ports"`
}

// String returns the holder and its number of ports: "shop/web 12".
func (h PortHolder) String() string { return fmt.Sprintf("%s %d", h.name(), h.Ports) }

func (h PortHolder) name() string {
	if name := Clean(h.Pod()); name != "" {
		return name
	}
	return h.Address.String()
}

// ICMPRequest is the type and code of ICMP flows, which differ in their IDs.
type ICMPRequest struct {
	Type uint8 `json:"type"`
	Code uint8 `json:"code"`
}

// PortsOf converts a sample. measured reports whether an earlier sample existed, so that the
// rate is known.
func PortsOf(s *portpool.Sample, measured bool, owners *Owners) Ports {
	out := Ports{
		Time: Time{s.Time.UTC()}, Groups: []PortGroup{}, Beyond: s.UnlistedShare, ReusesClosing: s.ReusesClosed,
		Failed: s.Lost.NoPort, FailedNow: s.NewlyLost.NoPort, Full: s.Lost.NoRoom, FullNow: s.NewlyLost.NoRoom,
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		p := PortGroup{
			Protocol: Protocol(g.Protocol), Egress: g.Egress, Destination: g.Destination, DestinationPort: g.Port, Zone: g.Zone,
			Ports: g.Ranges, Used: g.Used, Closing: g.Closing, Usable: g.Usable, Share: g.Share(), Severity: g.Severity,
			Holders: []PortHolder{},
		}
		for _, h := range g.Holders {
			x := PortHolder{Address: h.Source, Ports: h.Ports}
			if o := owners.Find(h.Source); o != nil {
				x.Owner = *o
			}
			p.Holders = append(p.Holders, x)
		}
		if isICMP(g.Protocol) {
			p.DestinationPort, p.ICMP = 0, &ICMPRequest{uint8(g.Port >> 8), uint8(g.Port)}
		}
		if measured {
			p.Rate = &g.Rate
		}
		if g.ExhaustedIn != portpool.Never {
			left := Seconds(g.ExhaustedIn)
			p.ExhaustedIn = &left
		}
		out.Groups = append(out.Groups, p)
	}
	return out
}

// PortProblems returns problems of groups that have few free ports.
func PortProblems(groups []PortGroup) (all Problems) {
	for _, g := range groups {
		if g.Severity < portpool.Warning {
			continue
		}
		text := fmt.Sprintf("are %.0f %% in use", 100*g.Share)
		if g.ExhaustedIn != nil && *g.ExhaustedIn > 0 {
			text += ", all in about " + time.Duration(*g.ExhaustedIn).Round(time.Second).String()
		}
		if len(g.Holders) > 0 {
			text += "; most are held by " + g.holders(MaxHolders)
		}
		c := Cause{
			Evidence: []Evidence{{"conntrack, ports in use", fmt.Sprintf("%d of %d", g.Used, g.Usable)}, {"ports that the policies allow", g.ranges()}},
			Remedy:   Remedy{Text: "masq-cni inspect ports shows which pods hold them"},
		}
		for _, h := range g.Holders {
			c.Evidence = append(c.Evidence, Evidence{"conntrack, ports held by " + h.name(), fmt.Sprint(h.Ports)})
		}
		all.Add(NewProblem(SeverityWarning, KindPortsScarce, "source ports of "+g.String(), text, c))
	}
	return all
}

// Exhausted returns a group without a free port, or "".
func Exhausted(groups []PortGroup) string {
	for _, g := range groups {
		if g.Used >= g.Usable {
			return g.String()
		}
	}
	return ""
}

// PortColumns returns the columns of a table of groups.
func PortColumns() []Column[PortGroup] {
	type row = PortGroup
	out := []Column[row]{
		wordColumn("PROTO", func(g *row) string { return g.Protocol }),
		{Name: "EGRESS", Cell: func(g *row) string { return g.Egress.String() }, Compare: func(a, b *row) int { return a.Egress.Compare(b.Egress) }},
		{Name: "DESTINATION", Cell: func(g *row) string { return g.destination() }, Compare: func(a, b *row) int {
			return cmp.Or(a.Destination.Compare(b.Destination), cmp.Compare(a.DestinationPort, b.DestinationPort))
		}},
		numberColumn("USED", func(g *row) int { return g.Used }, func(g *row) string { return fmt.Sprintf("%d/%d", g.Used, g.Usable) }),
		numberColumn("SHARE", func(g *row) float64 { return g.Share }, func(g *row) string { return percent(g.Share) }),
		numberColumn("LEVEL", func(g *row) portpool.Severity { return g.Severity }, func(g *row) string { return g.Severity.String() }),
		{Name: "LEFT", Cell: func(g *row) string { return g.left() }, Compare: func(a, b *row) int {
			switch {
			case a.ExhaustedIn != nil && b.ExhaustedIn != nil:
				return cmp.Compare(*a.ExhaustedIn, *b.ExhaustedIn)
			case a.ExhaustedIn != nil:
				return -1
			case b.ExhaustedIn != nil:
				return 1
			}
			return 0
		}},
		{Name: "PODS", Cell: func(g *row) string { return g.holders(2) }, Compare: compareHolders},
	}
	return append(out, asWide(
		Column[row]{Name: "HOLDERS", Cell: func(g *row) string { return g.holders(MaxHolders) }, Compare: compareHolders},
		numberColumn("RATE", func(g *row) float64 {
			if g.Rate == nil {
				return 0
			}
			return *g.Rate
		}, func(g *row) string {
			if g.Rate == nil {
				return ""
			}
			return fmt.Sprintf("%+.1f/s", *g.Rate)
		}),
		numberColumn("CLOSING", func(g *row) int { return g.Closing }, func(g *row) string { return strconv.Itoa(g.Closing) }),
		numberColumn("PORTS", func(g *row) int { return g.Usable }, func(g *row) string { return g.ranges() }),
		numberColumn("ZONE", func(g *row) uint16 { return g.Zone }, func(g *row) string { return strconv.Itoa(int(g.Zone)) }),
	)...)
}

// WriteText writes the table and the remarks.
func (p Ports) WriteText(w io.Writer, s Style) error {
	if err := writeTable(w, s, PortColumns(), p.Groups); err != nil {
		return err
	}
	separator := "\n"
	for _, text := range p.Remarks() {
		if _, err := fmt.Fprintf(w, "%s%s\n", separator, text); err != nil {
			return err
		}
		separator = ""
	}
	return nil
}

// Remarks returns sentences about losses and groups that are not listed.
func (p Ports) Remarks() []string {
	var out []string
	if p.Beyond > 0 {
		out = append(out, fmt.Sprintf("No other group has more than %s in use.", percent(p.Beyond)))
	}
	if p.Failed > 0 {
		cause := "another flow had their ports"
		if Exhausted(p.Groups) != "" {
			cause = "no source port was free"
		}
		out = append(out, fmt.Sprintf("%s dropped since boot, %d just now: %s.", Plural(p.Failed, "packet"), p.FailedNow, cause))
	}
	if p.Full > 0 {
		out = append(out, fmt.Sprintf("%s dropped since boot, %d just now: the conntrack table was full.", Plural(p.Full, "packet"), p.FullNow))
	}
	return out
}

func percent(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }

// String returns the group as part of a sentence: "192.0.2.2 for tcp to 198.51.100.2:443".
func (g PortGroup) String() string {
	return fmt.Sprintf("%s for %s to %s", g.Egress, g.Protocol, g.destination())
}

func (g *PortGroup) destination() string {
	if g.ICMP != nil {
		return fmt.Sprintf("%s type %d", g.Destination, g.ICMP.Type)
	}
	return netip.AddrPortFrom(g.Destination, g.DestinationPort).String()
}

func (g *PortGroup) left() string {
	switch {
	case g.ExhaustedIn == nil:
		return ""
	case *g.ExhaustedIn == 0:
		return "none"
	}
	return time.Duration(*g.ExhaustedIn).Round(time.Second).String()
}

// holders returns the first n holders: "shop/web 12, shop/db 3, ...".
func (g *PortGroup) holders(n int) string {
	var out []string
	for i, h := range g.Holders {
		if i == n {
			out = append(out, "...")
			break
		}
		out = append(out, h.String())
	}
	return strings.Join(out, ", ")
}

// compareHolders orders groups by their first holder.
func compareHolders(a, b *PortGroup) int { return strings.Compare(a.holders(1), b.holders(1)) }

func (g *PortGroup) ranges() string {
	var out []string
	for _, r := range g.Ports {
		out = append(out, r.String())
	}
	return strings.Join(out, ",")
}
