package doctor

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// point is a station of a path as text. All texts can be shown: those from outside are escaped.
type point struct {
	Kind, Name             string
	MTU, MSS, RTT, Packets string // empty if unknown
	Detail                 string
	Narrowest              bool
	Lost                   string // why a packet was lost here
	// Unreached is true after a point where a packet was lost, unless this point answered.
	Unreached bool
	// Inner is true for a rule or a chain, which is inside the node and has no link.
	Inner bool
	size  int // the MTU, or 0
}

// kinds are the names of stations.
var kinds = map[doctor.StationKind]string{
	doctor.ContainerInterface: "container",
	doctor.HostLink:           "host link",
	doctor.Rule:               "rule",
	doctor.OtherChain:         "chain",
	doctor.UplinkInterface:    "uplink",
	doctor.NextHop:            "next hop",
	doctor.Hop:                "hop",
	doctor.Destination:        "destination",
}

// points returns the stations of a path.
func points(p *doctor.Path) []point {
	out := make([]point, len(p.Stations))
	lost := false
	for i, s := range p.Stations {
		x := &out[i]
		x.Kind, x.Name, x.Detail, x.Lost = kinds[s.Kind], report.CleanText(s.Name), report.CleanText(s.Detail), report.CleanText(s.Lost)
		if x.Kind == "" {
			x.Kind = report.CleanText(string(s.Kind))
		}
		x.MTU, x.MSS, x.RTT = number(s.MTU), number(s.MSS), roundTrip(s.RTT)
		if s.Packets != nil {
			x.Packets = strconv.FormatUint(*s.Packets, 10)
		}
		x.Narrowest, x.size = s.Narrowest, s.MTU
		x.Inner = s.Kind == doctor.Rule || s.Kind == doctor.OtherChain
		x.Unreached = lost && s.Lost == "" && s.RTT == 0 && s.Packets == nil
		lost = lost || s.Lost != ""
	}
	return out
}

// notes are the sentences about a point.
func (x *point) notes() (all []note) {
	if x.Detail != "" {
		all = append(all, note{text: x.Detail})
	}
	if x.Narrowest {
		text := "narrowest of the path"
		if x.MTU != "" {
			text += ": " + x.MTU + " bytes"
		}
		all = append(all, note{text, report.Bold})
	}
	if x.Lost != "" {
		all = append(all, note{"lost here: " + x.Lost, report.Red})
	}
	return all
}

// Remarks returns the notes as one text.
func (x point) Remarks() string {
	var out []string
	for _, n := range x.notes() {
		out = append(out, n.text)
	}
	if x.Unreached {
		out = append(out, "not reached")
	}
	return strings.Join(out, "; ")
}

// note is a sentence and its rendition.
type note struct {
	text string
	code report.SGR
}

func number(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// roundTrip formats a round-trip time in seconds.
func roundTrip(seconds float64) string {
	switch ms := seconds * 1000; {
	case ms <= 0:
		return ""
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return time.Duration(seconds * float64(time.Second)).Round(100 * time.Millisecond).String()
	}
}

// wrapText breaks a text into lines of at most width cells, between words if possible.
func wrapText(text string, width int) (lines []string) {
	line, at := "", 0
	for _, word := range shortWords(text, width) {
		n := report.Width(word)
		switch {
		case line == "":
		case at+1+n > width:
			lines = append(lines, line)
			line, at = "", 0
		default:
			line += " "
			at++
		}
		line += word
		at += n
	}
	return append(lines, line)
}

// shortWords returns the words of a text. It breaks words that have more than width cells.
func shortWords(text string, width int) (words []string) {
	for word := range strings.FieldsSeq(text) {
		begin, cells := 0, 0
		for i, r := range word {
			n := report.Width(string(r))
			if cells+n > width && i > begin {
				words = append(words, word[begin:i])
				begin, cells = i, 0
			}
			cells += n
		}
		words = append(words, word[begin:])
	}
	return words
}
