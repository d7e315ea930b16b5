package report

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AttachmentColumns returns the columns of a table of attachments. The columns that are
// not wide fit 80 characters, with short names.
func AttachmentColumns(now func() time.Time) []Column[Attachment] {
	type row = Attachment
	out := []Column[row]{
		words("POD", func(a *row) string { return a.Pod() }),
		words("NETWORK", func(a *row) string { return a.Network }),
		{Name: "ADDRESSES", Cell: func(a *row) string { return addresses(a.Addresses) }, Compare: func(a, b *row) int { return slices.CompareFunc(a.Addresses, b.Addresses, netip.Addr.Compare) }},
		numbers("FLOWS", func(a *row) int { return a.Flows }, func(a *row) string { return strconv.Itoa(a.Flows) }),
		numbers("TRANSLATED", func(a *row) int { return a.Translated }, func(a *row) string { return strconv.Itoa(a.Translated) }),
		numbers("BEGUN", func(a *row) uint64 {
			if a.Begun == nil {
				return 0
			}
			return *a.Begun
		}, func(a *row) string { return a.begun() }),
		numbers("BYTES", func(a *row) uint64 { return a.Bytes.Sum() }, func(a *row) string { return known(a.Packets, size(a.Bytes.Sum())) }),
	}
	return append(out, wide(
		words("POLICY", func(a *row) string { return a.Policy }),
		numbers("INCOMING", func(a *row) int { return a.Incoming }, func(a *row) string { return strconv.Itoa(a.Incoming) }),
		numbers("PACKETS", func(a *row) uint64 { return a.Packets.Sum() }, func(a *row) string { return known(a.Packets, strconv.FormatUint(a.Packets.Sum(), 10)) }),
		words("CONTAINER", func(a *row) string { return a.ContainerID }),
		words("INTERFACE", func(a *row) string { return a.Interface }),
		words("LINKS", func(a *row) string { return strings.Join(a.Links, ",") }),
		numbers("MTU", func(a *row) int { return a.MTU }, func(a *row) string { return strconv.Itoa(a.MTU) }),
		words("STATE", func(a *row) string { return a.State() }),
		Column[row]{Name: "AGE", Cell: func(a *row) string { return a.age(now()) }, Compare: func(a, b *row) int { return a.Created.Compare(b.Created.Time) }},
	)...)
}

// WriteAttachments writes attachments for a person.
func WriteAttachments(w io.Writer, s Style, all []Attachment, now time.Time) error {
	return writeTable(w, s, AttachmentColumns(func() time.Time { return now }), all)
}

func addresses(all []netip.Addr) string {
	var out []string
	for _, a := range all {
		out = append(out, a.String())
	}
	return strings.Join(out, ",")
}

func (a Attachment) begun() string {
	if a.Begun == nil {
		return ""
	}
	return strconv.FormatUint(*a.Begun, 10)
}

// State says in a word whether an attachment is in place, and who made its link.
func (a Attachment) State() string {
	switch {
	case !a.Ready:
		return "not-ready"
	case a.Chained:
		return "chained"
	}
	return "ready"
}

func (a Attachment) age(now time.Time) string {
	if a.Created.IsZero() {
		return ""
	}
	return span(now.Sub(a.Created.Time))
}

// Pod is an attachment with all that is known of it.
type Pod struct {
	Attachment
	Rules Policy `json:"rules,omitzero"` // the policy in force
	// Drift is how the rules and elements that it needs, and its link at both ends, differ
	// from what ADD made. NotChecked is what could not be compared.
	Drift      []Change     `json:"drift"`
	NotChecked []Change     `json:"notChecked"`
	Dropped    PodDropped   `json:"dropped"`
	States     []StateCount `json:"states"` // of its flows, including flows that reach it
	// Helpers are the control connections, and what they have announced.
	Helpers      []HelperCount `json:"helpers"`
	Expectations []Expectation `json:"expectations"`
}

// WritePods writes attachments one below the other for a person.
func WritePods(w io.Writer, s Style, all []Pod, now time.Time) error {
	for i, p := range all {
		if i > 0 {
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
		if err := p.writeText(w, s, now); err != nil {
			return err
		}
	}
	return nil
}

func (p Pod) writeText(w io.Writer, s Style, now time.Time) error {
	var f facts
	if p.PodName != "" {
		f.say("pod", "%s", Clean(p.Pod()))
	}
	f.say("container", "%s", Clean(p.ContainerID))
	f.say("network", "%s, interface %s", Clean(p.Network), Clean(p.Interface))
	f.say("addresses", "%s", strings.ReplaceAll(addresses(p.Addresses), ",", ", "))
	f.say("links", "%s", Clean(strings.Join(p.Links, ", ")))
	if p.MTU > 0 {
		f.say("mtu", "%d", p.MTU)
	}
	if p.NetNS != "" {
		f.say("netns", "%s", Clean(p.NetNS))
	}
	f.say("state", "%s, since %s", p.State(), p.age(now))
	if p.Policy == "" {
		f.say("policy", "none: the network asked for the link alone")
	} else {
		f.say("policy", "%s: translates %s; ports: %s", p.Policy, p.Rules.target(), orDash(p.Rules.ports()))
		f.say("", "mss %s; helpers: %s", p.Rules.clamp(), orDash(p.Rules.helped()))
	}
	for i, c := range p.Drift {
		f.say(first(i, "drift"), "%s", s.Paint(Red, Sentence(fmt.Sprintf("%s %s: %s", c.Kind, c.Name, c.Found))))
	}
	if len(p.Drift) == 0 {
		f.say("drift", "%s", s.Paint(Green, "none"))
	}
	for _, c := range p.NotChecked {
		f.say("", "not checked: %s", Sentence(fmt.Sprintf("%s %s: %s", c.Kind, c.Name, c.Found)))
	}
	f.say("flows", "%d, %d translated, %d incoming, %s begun so far", p.Flows, p.Translated, p.Incoming, orDash(p.begun()))
	if p.Packets != (Sides{}) {
		f.say("traffic", "%d packets, %s out; %d packets, %s in", p.Packets.Original, size(p.Bytes.Original), p.Packets.Reply, size(p.Bytes.Reply))
	}
	if p.Policy != "" {
		f.say("dropped", "%s", p.Dropped)
	}
	for i, h := range p.Helpers {
		f.say(first(i, "helpers"), "%s, %s", Clean(h.Helper), Plural(h.Flows, "control connection"))
	}
	if err := f.write(w); err != nil {
		return err
	}
	if len(p.Expectations) > 0 {
		if err := writeExpectations(w, s, p.Expectations); err != nil {
			return err
		}
	}
	if len(p.States) > 0 {
		return writeStates(w, s, p.States)
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
