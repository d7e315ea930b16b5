package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// WriteRules writes rules for a person: wide as one table, else each rule with the
// reason for it below.
func WriteRules(w io.Writer, s Style, all []Rule) error {
	if s.Wide {
		t := newTable(w, s, "CHAIN", "ID", "STATE", "PACKETS", "BYTES", "HANDLE", "RULE", "WHY")
		for _, r := range all {
			if err := t.row(Clean(r.Chain), Clean(r.ID), r.State, r.counted(r.Packets), r.counted(r.Bytes),
				strconv.FormatUint(r.Handle, 10), r.Text, Sentence(r.Why)); err != nil {
				return err
			}
		}
		return t.flush()
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
			if _, err := fmt.Fprintf(w, "%s\n", s.paint(bold, "chain "+Clean(chain))); err != nil {
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
		state = "  " + s.paint(red, strings.ToUpper(r.State))
	}
	count := ""
	if r.Counts {
		count = fmt.Sprintf("  %s, %s", plural(int(r.Packets), "packet"), size(r.Bytes))
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

// Drift is how the kernel differs from what was asked for.
type Drift struct {
	Drift   bool     `json:"drift"`
	Changes []Change `json:"changes"`
}

// WriteText writes it for a person.
func (d Drift) WriteText(w io.Writer, s Style) error {
	if !d.Drift {
		_, err := fmt.Fprintln(w, s.paint(green, "no drift"))
		return err
	}
	t := newTable(w, s, "KIND", "NAME", "FOUND")
	for _, c := range d.Changes {
		if err := t.row(c.Kind, Sentence(c.Name), Sentence(c.Found)); err != nil {
			return err
		}
	}
	return t.flush()
}

// WriteText writes the control connections and what they have announced.
func (h Helpers) WriteText(w io.Writer, s Style) error {
	if len(h.Control) == 0 {
		if _, err := fmt.Fprintln(w, "no control connections"); err != nil {
			return err
		}
	} else {
		t := newTable(w, s, "POD", "HELPER", "PROTO", "SOURCE", "DESTINATION", "TRANSLATED", "STATE")
		for _, f := range h.Control {
			if err := t.row(Clean(f.Pod()), Clean(f.Helper), f.Protocol, f.Original.from(), f.Original.to(), f.changed(), f.State); err != nil {
				return err
			}
		}
		if err := t.flush(); err != nil {
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
