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

// RuleColumns are those of a table of rules.
func RuleColumns() []Column[Rule] {
	type row = Rule
	return []Column[row]{
		{Name: "CHAIN", Cell: func(r *row) string { return Clean(r.Chain) }},
		words("ID", func(r *row) string { return r.ID }),
		words("STATE", func(r *row) string { return r.State }),
		numbers("PACKETS", func(r *row) uint64 { return r.Packets }, func(r *row) string { return r.counted(r.Packets) }),
		numbers("BYTES", func(r *row) uint64 { return r.Bytes }, func(r *row) string { return r.counted(r.Bytes) }),
		{
			Name: "HANDLE", Wide: true, Cell: func(r *row) string { return strconv.FormatUint(r.Handle, 10) },
			Compare: func(a, b *row) int { return cmp.Compare(a.Handle, b.Handle) },
		},
		sentences("RULE", func(r *row) string { return r.Text }),
		sentences("WHY", func(r *row) string { return r.Why }),
	}
}

// WriteRules writes rules for a person: wide as one table, else each rule with the
// reason for it below.
func WriteRules(w io.Writer, s Style, all []Rule) error {
	if s.Wide {
		return writeTable(w, s, RuleColumns(), all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "no rules")
		return err
	}
	chain := ""
	for i, r := range all {
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
		text = fmt.Sprintf("see nft -a list chain inet masq %s, handle %d", Clean(r.Chain), r.Handle)
	}
	_, err := fmt.Fprintf(w, "  %s%s%s\n      %s\n      %s\n", orDash(Clean(r.ID)), count, state, text, "# "+Sentence(r.Why))
	return err
}

func (r Rule) counted(n uint64) string {
	if !r.Counts {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// Drift is how the kernel differs from what ADD and the node's policy ask for.
type Drift struct {
	Drift   bool     `json:"drift"`
	Changes []Change `json:"changes"`
	// NotChecked is what could not be compared, and why. It is no drift.
	NotChecked []Change `json:"notChecked"`
}

// WriteText writes it for a person.
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
		c.Kind, Sentence(c.Name), orDash(Clean(c.Pod)), Sentence(c.Found))
	return err
}

// ChangeColumns are those of a table of differences.
func ChangeColumns() []Column[Change] {
	return []Column[Change]{
		words("KIND", func(c *Change) string { return c.Kind }),
		sentences("NAME", func(c *Change) string { return c.Name }),
		sentences("FOUND", func(c *Change) string { return c.Found }),
		words("POD", func(c *Change) string { return c.Pod }),
	}
}

// HelperColumns are those of a table of control connections, and of what they have
// announced.
func HelperColumns() []Column[Flow] {
	var out []Column[Flow]
	all := FlowColumns()
	for _, name := range []string{"POD", "HELPER", "PROTO", "SOURCE", "DESTINATION", "TRANSLATED", "STATE", "TIMEOUT"} {
		i := slices.IndexFunc(all, func(c Column[Flow]) bool { return c.Name == name })
		all[i].Wide = false
		out = append(out, all[i])
	}
	return append(out, sentences("CONTROL", func(f *Flow) string {
		if f.Master == (Tuple{}) {
			return ""
		}
		return f.Master.from() + " > " + f.Master.to()
	}))
}

// Rows are the control connections, and what they have announced as flows to come.
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

// WriteText writes the control connections and what they have announced.
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
		if err := t.row(Clean(e.Pod()), Clean(e.Helper), e.Protocol, e.Expected.from(), e.Expected.to(),
			e.Master.from()+" > "+e.Master.to(), span(time.Duration(e.Timeout))); err != nil {
			return err
		}
	}
	return t.flush()
}
