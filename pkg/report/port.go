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

// Ports is the source port pressure of a node.
type Ports struct {
	Time   Time        `json:"time"`
	Groups []PortGroup `json:"groups"`
	// Beyond is the share that no group has more of that is not among Groups.
	Beyond float64 `json:"beyond"`
	// Failed is the number of packets of new flows, of the whole node, that were dropped
	// since another flow had their addresses and ports, as when no source port is free;
	// FailedNow of these came while the rate was measured.
	Failed    uint64 `json:"failed"`
	FailedNow uint64 `json:"failedNow"`
	// Full is the number of packets of new flows, of the whole node, that were dropped
	// since the conntrack table was full, or the kernel had no memory; FullNow of these
	// came while the rate was measured.
	Full    uint64 `json:"full"`
	FullNow uint64 `json:"fullNow"`
	// ReusesClosing says that the kernel gives ports of closed TCP flows to new ones, so
	// that Closing is not part of Used.
	ReusesClosing bool `json:"reusesClosing"`
}

// PortGroup is a portpool.Pressure.
type PortGroup struct {
	Protocol        string           `json:"protocol"`
	Egress          netip.Addr       `json:"egress"`
	Destination     netip.Addr       `json:"destination"`
	DestinationPort uint16           `json:"destinationPort"`
	ICMP            *ICMPRequest     `json:"icmp,omitempty"`
	Zone            uint16           `json:"zone"`
	Ports           []portpool.Range `json:"ports"`
	Used            int              `json:"used"`
	// Closing are the ports of closed TCP flows that wait for their time-out.
	Closing int               `json:"closing"`
	Usable  int               `json:"usable"`
	Share   float64           `json:"share"`
	Level   portpool.Severity `json:"level"`
	// Rate is null where it was not measured.
	Rate *float64 `json:"rate"`
	// ExhaustedIn is null where no end is foreseen.
	ExhaustedIn *Seconds `json:"exhaustedIn"`
	// Holders are the sources that hold the most ports of Used, in descending order.
	Holders []PortHolder `json:"holders"`
}

// MaxHolders is how many holders of a group are named.
const MaxHolders = 5

// PortHolder is an attachment that holds ports of a group. The fields of its Owner are
// empty where no attachment has the Address: another plugin's pod, in sourceCIDRs.
type PortHolder struct {
	Owner
	Address netip.Addr `json:"address"`
	Ports   int        `json:"ports"`
}

// String is the holder with its number: "shop/web 12".
func (h PortHolder) String() string {
	name := Clean(h.Pod())
	if name == "" {
		name = h.Address.String()
	}
	return fmt.Sprintf("%s %d", name, h.Ports)
}

// ICMPRequest is what flows of ICMP with different IDs have in common.
type ICMPRequest struct {
	Type uint8 `json:"type"`
	Code uint8 `json:"code"`
}

// PortsOf describes a sample; measured says that there was one before it. Owners are the
// attachments of the node.
func PortsOf(s *portpool.Sample, measured bool, owners *Owners) Ports {
	out := Ports{
		Time: Time{s.Time.UTC()}, Groups: []PortGroup{}, Beyond: s.UnlistedShare, ReusesClosing: s.ReusesClosed,
		Failed: s.Lost.NoPort, FailedNow: s.LostNow.NoPort, Full: s.Lost.NoRoom, FullNow: s.LostNow.NoRoom,
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		p := PortGroup{
			Protocol: Protocol(g.Protocol), Egress: g.Egress, Destination: g.Destination, DestinationPort: g.Port, Zone: g.Zone,
			Ports: g.Ranges, Used: g.Used, Closing: g.Closing, Usable: g.Usable, Share: g.Share(), Level: g.Severity,
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

// PortProblems returns the problems of groups whose ports run out.
func PortProblems(groups []PortGroup) (all Problems) {
	for _, g := range groups {
		if g.Level < portpool.Warning {
			continue
		}
		text := fmt.Sprintf("%.0f %% of those of %s are in use", 100*g.Share, g)
		if g.ExhaustedIn != nil && *g.ExhaustedIn > 0 {
			text += ", all of them in " + time.Duration(*g.ExhaustedIn).Round(time.Second).String()
		}
		if len(g.Holders) > 0 {
			text += "; most are held by " + g.holders(MaxHolders)
		}
		all.Add(Problem{SeverityWarning, KindPortsScarce, "source ports", text, "masq-cni inspect ports shows which pods hold them"})
	}
	return all
}

// Exhausted is a group that has no port left, empty where each has one.
func Exhausted(groups []PortGroup) string {
	for _, g := range groups {
		if g.Used >= g.Usable {
			return g.String()
		}
	}
	return ""
}

// PortColumns are those of a table of groups.
func PortColumns() []Column[PortGroup] {
	type row = PortGroup
	out := []Column[row]{
		words("PROTO", func(g *row) string { return g.Protocol }),
		{Name: "EGRESS", Cell: func(g *row) string { return g.Egress.String() }, Compare: func(a, b *row) int { return a.Egress.Compare(b.Egress) }},
		{Name: "DESTINATION", Cell: func(g *row) string { return g.to() }, Compare: func(a, b *row) int {
			return cmp.Or(a.Destination.Compare(b.Destination), cmp.Compare(a.DestinationPort, b.DestinationPort))
		}},
		numbers("USED", func(g *row) int { return g.Used }, func(g *row) string { return fmt.Sprintf("%d/%d", g.Used, g.Usable) }),
		numbers("SHARE", func(g *row) float64 { return g.Share }, func(g *row) string { return percent(g.Share) }),
		numbers("LEVEL", func(g *row) portpool.Severity { return g.Level }, func(g *row) string { return g.Level.String() }),
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
	return append(out, wide(
		Column[row]{Name: "HOLDERS", Cell: func(g *row) string { return g.holders(MaxHolders) }, Compare: compareHolders},
		numbers("RATE", func(g *row) float64 {
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
		numbers("CLOSING", func(g *row) int { return g.Closing }, func(g *row) string { return strconv.Itoa(g.Closing) }),
		numbers("PORTS", func(g *row) int { return g.Usable }, func(g *row) string { return g.ranges() }),
		numbers("ZONE", func(g *row) uint16 { return g.Zone }, func(g *row) string { return strconv.Itoa(int(g.Zone)) }),
	)...)
}

// WriteText writes it for a person.
func (p Ports) WriteText(w io.Writer, s Style) error {
	if err := writeTable(w, s, PortColumns(), p.Groups); err != nil {
		return err
	}
	gap := "\n"
	for _, text := range p.Remarks() {
		if _, err := fmt.Fprintf(w, "%s%s\n", gap, text); err != nil {
			return err
		}
		gap = ""
	}
	return nil
}

// Remarks are what the groups do not tell.
func (p Ports) Remarks() []string {
	var out []string
	if p.Beyond > 0 {
		out = append(out, fmt.Sprintf("No other has more than %s in use.", percent(p.Beyond)))
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

// String is the group within a sentence: "192.0.2.2 for tcp to 198.51.100.2:443".
func (g PortGroup) String() string {
	return fmt.Sprintf("%s for %s to %s", g.Egress, g.Protocol, g.to())
}

func (g *PortGroup) to() string {
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

// holders are the first n holders with their numbers: "shop/web 12, shop/db 3, ...".
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

// compareHolders puts groups of one holder together.
func compareHolders(a, b *PortGroup) int { return strings.Compare(a.holders(1), b.holders(1)) }

func (g *PortGroup) ranges() string {
	var out []string
	for _, r := range g.Ports {
		out = append(out, r.String())
	}
	return strings.Join(out, ",")
}
