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
		wordColumn("POD", func(a *row) string { return a.Pod() }),
		wordColumn("NETWORK", func(a *row) string { return a.Network }),
		{Name: "ADDRESSES", Cell: func(a *row) string { return addresses(a.Addresses) }, Compare: func(a, b *row) int { return slices.CompareFunc(a.Addresses, b.Addresses, netip.Addr.Compare) }},
		numberColumn("FLOWS", func(a *row) int { return a.Flows }, func(a *row) string { return strconv.Itoa(a.Flows) }),
		numberColumn("TRANSLATED", func(a *row) int { return a.Translated }, func(a *row) string { return strconv.Itoa(a.Translated) }),
		numberColumn("BEGUN", func(a *row) uint64 {
			if a.Begun == nil {
				return 0
			}
			return *a.Begun
		}, func(a *row) string { return a.begun() }),
		numberColumn("BYTES", func(a *row) uint64 { return a.Bytes.Sum() }, func(a *row) string { return ifCounted(a.Packets, size(a.Bytes.Sum())) }),
	}
	return append(out, asWide(
		wordColumn("POLICY", func(a *row) string { return a.Policy }),
		numberColumn("INCOMING", func(a *row) int { return a.Incoming }, func(a *row) string { return strconv.Itoa(a.Incoming) }),
		numberColumn("PACKETS", func(a *row) uint64 { return a.Packets.Sum() }, func(a *row) string { return ifCounted(a.Packets, strconv.FormatUint(a.Packets.Sum(), 10)) }),
		wordColumn("CONTAINER", func(a *row) string { return a.ContainerID }),
		wordColumn("INTERFACE", func(a *row) string { return a.Interface }),
		wordColumn("LINKS", func(a *row) string { return strings.Join(a.Links, ",") }),
		numberColumn("MTU", func(a *row) int { return a.MTU }, func(a *row) string { return strconv.Itoa(a.MTU) }),
		wordColumn("STATE", func(a *row) string { return a.State() }),
		Column[row]{Name: "AGE", Cell: func(a *row) string { return a.age(now()) }, Compare: func(a, b *row) int { return a.Created.Compare(b.Created.Time) }},
	)...)
}

// WriteAttachments writes a table of attachments.
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

// State returns "pending", "ready" or, if another plugin made the link, "chained".
func (a Attachment) State() string {
	switch {
	case !a.Ready:
		return "pending"
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

// Pod is an attachment with its rules, differences, drops and flows.
type Pod struct {
	Attachment
	Rules Policy `json:"rules,omitzero"` // the active policy
	// Drift has the differences of its rules, its elements and both ends of its link from the
	// state after ADD. NotChecked has objects that could not be compared.
	Drift      []Change     `json:"drift"`
	NotChecked []Change     `json:"notChecked"`
	Dropped    PodDropped   `json:"dropped"`
	States     []StateCount `json:"states"` // flows in both directions
	// Helpers counts control connections, Expectations has the connections that they have
	// announced.
	Helpers []HelperCount `json:"helpers"`
	// DaemonHelpers counts what masqd's helpers do for it.
	DaemonHelpers DaemonHelpers `json:"daemonHelpers"`
	Expectations  []Expectation `json:"expectations"`
}

// WritePods writes the details of attachments.
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
		f.add("pod", "%s", Clean(p.Pod()))
	}
	f.add("container", "%s", Clean(p.ContainerID))
	f.add("network", "%s, interface %s", Clean(p.Network), Clean(p.Interface))
	f.add("addresses", "%s", strings.ReplaceAll(addresses(p.Addresses), ",", ", "))
	f.add("links", "%s", Clean(strings.Join(p.Links, ", ")))
	if p.MTU > 0 {
		f.add("mtu", "%d", p.MTU)
	}
	if p.NetNS != "" {
		f.add("netns", "%s", Clean(p.NetNS))
	}
	f.add("state", "%s for %s", p.State(), p.age(now))
	if p.Policy == "" {
		f.add("policy", "none: ipMasq is false in the network's configuration")
	} else {
		f.add("policy", "%s: translates %s; ports: %s", p.Policy, p.Rules.target(), orDash(p.Rules.ports()))
		f.add("", "mss %s", p.Rules.mss())
		f.add("helpers", "%s", orDash(p.helperList()))
	}
	for i, c := range p.Drift {
		f.add(ifFirst(i, "drift"), "%s", s.Paint(Red, CleanText(fmt.Sprintf("%s %s: %s", c.Kind, c.Name, c.Found))))
	}
	if len(p.Drift) == 0 {
		f.add("drift", "%s", s.Paint(Green, "none"))
	}
	for _, c := range p.NotChecked {
		f.add("", "not checked: %s", CleanText(fmt.Sprintf("%s %s: %s", c.Kind, c.Name, c.Found)))
	}
	f.add("flows", "%d open (%d translated), %d incoming, %s since ADD", p.Flows, p.Translated, p.Incoming, orDash(p.begun()))
	if p.Packets != (Sides{}) {
		f.add("traffic", "%d packets, %s out; %d packets, %s in", p.Packets.Original, size(p.Bytes.Original), p.Packets.Reply, size(p.Bytes.Reply))
	}
	if p.Policy != "" {
		f.add("dropped", "%s", p.Dropped)
	}
	for i, h := range p.Helpers {
		f.add(ifFirst(i, "control"), "%s, %s", Clean(h.Helper), Plural(h.Flows, "connection"))
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
