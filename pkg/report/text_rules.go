package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RuleColumns returns the columns of a table of rules.
func RuleColumns() []Column[Rule] {
	type row = Rule
	return []Column[row]{
		{Name: "TABLE", Wide: true, Cell: func(r *row) string { return r.Table }, Compare: func(a, b *row) int { return cmp.Compare(a.Table, b.Table) }},
		{Name: "CHAIN", Cell: func(r *row) string { return Clean(r.Chain) }},
		wordColumn("ID", func(r *row) string { return r.ID }),
		wordColumn("STATE", func(r *row) string { return r.State }),
		numberColumn("PACKETS", func(r *row) uint64 { return r.Packets }, func(r *row) string { return r.counted(r.Packets) }),
		numberColumn("BYTES", func(r *row) uint64 { return r.Bytes }, func(r *row) string { return r.counted(r.Bytes) }),
		{
			Name: "HANDLE", Wide: true, Cell: func(r *row) string { return strconv.FormatUint(r.Handle, 10) },
			Compare: func(a, b *row) int { return cmp.Compare(a.Handle, b.Handle) },
		},
		textColumn("RULE", func(r *row) string { return r.Text }),
		textColumn("WHY", func(r *row) string { return r.Why }),
	}
}

// WriteRules writes rules by chain, each followed by its reason. With Style.Wide it writes
// one table.
func WriteRules(w io.Writer, s Style, all []Rule) error {
	if s.Wide {
		return writeTable(w, s, RuleColumns(), all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "no rules")
		return err
	}
	chain, table := "", all[0].Table
	for i, r := range all {
		if r.Table != table {
			table, chain = r.Table, ""
			if _, err := fmt.Fprintf(w, "\n%s\n", s.Paint(Bold, "table inet "+table+", which exists while masqd runs")); err != nil {
				return err
			}
		}
		if r.Chain != chain {
			if i > 0 {
				if _, err := io.WriteString(w, "\n"); err != nil {
					return err
				}
			}
			chain = r.Chain
			if _, err := fmt.Fprintf(w, "%s\n", s.Paint(Bold, "chain "+Clean(chain))); err != nil {
				return err
			}
		}
		if err := r.write(w, s); err != nil {
			return err
		}
	}
	return nil
}

func (r Rule) write(w io.Writer, s Style) error {
	state := ""
	if r.State != OK {
		state = "  " + s.Paint(Red, strings.ToUpper(r.State))
	}
	count := ""
	if r.Counts {
		count = fmt.Sprintf("  %s, %s", Plural(int(r.Packets), "packet"), size(r.Bytes))
	}
	text := r.Text
	if text == "" {
		text = fmt.Sprintf("see nft -a list chain inet %s %s, handle %d", r.Table, Clean(r.Chain), r.Handle)
	}
	_, err := fmt.Fprintf(w, "  %s%s%s\n      %s\n      %s\n", orDash(Clean(r.ID)), count, state, text, "# "+CleanText(r.Why))
	return err
}

func (r Rule) counted(n uint64) string {
	if !r.Counts {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// Drift has the differences between the observed and the desired state.
type Drift struct {
	Drift   bool     `json:"drift"`
	Changes []Change `json:"changes"`
	// NotChecked has objects that could not be compared, which are no drift.
	NotChecked []Change `json:"notChecked"`
}

// WriteText writes a table of differences.
func (d Drift) WriteText(w io.Writer, s Style) error {
	if !d.Drift {
		if _, err := fmt.Fprintln(w, s.Paint(Green, "no drift")); err != nil {
			return err
		}
	} else if err := writeTable(w, s, ChangeColumns(), d.Changes); err != nil {
		return err
	}
	if len(d.NotChecked) == 0 {
		return nil
	}
	c := d.NotChecked[0]
	_, err := fmt.Fprintf(w, "note: %s, the first: %s %s of %s: %s\n", Plural(len(d.NotChecked), "object")+" not checked",
		c.Kind, CleanText(c.Name), orDash(Clean(c.Pod)), CleanText(c.Found))
	return err
}

// ChangeColumns returns the columns of a table of differences.
func ChangeColumns() []Column[Change] {
	return []Column[Change]{
		wordColumn("KIND", func(c *Change) string { return c.Kind }),
		textColumn("NAME", func(c *Change) string { return c.Name }),
		textColumn("FOUND", func(c *Change) string { return c.Found }),
		wordColumn("POD", func(c *Change) string { return c.Pod }),
	}
}

// HelperColumns returns the columns of a table of control connections and expectations.
func HelperColumns() []Column[Flow] {
	var out []Column[Flow]
	all := FlowColumns()
	for _, name := range []string{"POD", "HELPER", "PROTO", "SOURCE", "DESTINATION", "TRANSLATED", "STATE", "TIMEOUT"} {
		i := slices.IndexFunc(all, func(c Column[Flow]) bool { return c.Name == name })
		all[i].Wide = false
		out = append(out, all[i])
	}
	return append(out, textColumn("CONTROL", func(f *Flow) string {
		if f.Master == (Tuple{}) {
			return ""
		}
		return f.Master.source() + " > " + f.Master.destination()
	}))
}

// Rows returns the control connections, and the expectations as flows.
func (h Helpers) Rows() []Flow {
	out := slices.Clone(h.Control)
	for _, e := range h.Expectations {
		out = append(out, Flow{
			Owner: e.Owner, Protocol: e.Protocol, Original: e.Expected, Translated: e.Expected, NAT: "none",
			State: "expected", Timeout: e.Timeout, Helper: e.Helper, Master: e.Master,
		})
	}
	return out
}

// WriteText writes tables of control connections and of expectations.
func (h Helpers) WriteText(w io.Writer, s Style) error {
	if len(h.Control) == 0 {
		if _, err := fmt.Fprintln(w, "no control connections"); err != nil {
			return err
		}
	} else {
		columns := HelperColumns()
		if err := writeTable(w, s, columns[:len(columns)-2], h.Control); err != nil {
			return err
		}
	}
	if len(h.Expectations) == 0 {
		_, err := fmt.Fprintln(w, "no open expectations")
		return err
	}
	return writeExpectations(w, s, h.Expectations)
}

func writeExpectations(w io.Writer, s Style, all []Expectation) error {
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	t := newTable(w, s, "EXPECTED FOR", "HELPER", "PROTO", "FROM", "TO", "CONTROL", "TIMEOUT")
	for _, e := range all {
		if err := t.row(Clean(e.Pod()), Clean(e.Helper), e.Protocol, e.Expected.source(), e.Expected.destination(),
			e.Master.source()+" > "+e.Master.destination(), span(time.Duration(e.Timeout))); err != nil {
			return err
		}
	}
	return t.flush()
}
