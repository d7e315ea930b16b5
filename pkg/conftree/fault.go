package conftree

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is an error or a warning about one value. All its texts can be printed: text
// from outside is quoted and shortened.
type Fault struct {
	File string `json:"file,omitempty"`
	// Line and Column count from 1, columns in characters. They are 0 if the fault has no
	// position in the text.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Key is the key and the keys that contain it, such as helpers.ftp. It is empty if the
	// fault concerns no key.
	Key string `json:"key,omitempty"`
	// Value is the faulty value. It is empty if the key itself is the fault.
	Value string `json:"value,omitempty"`
	// Message says what is wrong with the value or the key, and what to do.
	Message string `json:"message"`
}

// Error returns "PLACE: KEY: VALUE MESSAGE", without the parts that are empty.
func (f Fault) Error() string {
	text := f.Message
	switch {
	case f.Key != "" && f.Value != "":
		text = f.Key + ": " + f.Value + " " + text
	case f.Key+f.Value != "":
		text = f.Key + f.Value + " " + text
	}
	if at := (Place{f.File, f.Line, f.Column}).String(); at != "" {
		return at + ": " + text
	}
	return text
}

// Faults are the faults of one or several texts, in the order of files, lines and
// columns.
type Faults []Fault

// Error returns one line for each fault.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// MaxFaults is the maximum number of faults that a Reader keeps. Each fault may be logged,
// and a text of a megabyte can have very many.
const MaxFaults = 100

// Reader reads values and collects their faults. The zero Reader is ready to use.
type Reader struct {
	faults  Faults
	omitted int
}

// Add adds a fault.
func (r *Reader) Add(f Fault) {
	if len(r.faults) == MaxFaults {
		r.omitted++
		return
	}
	r.faults = append(r.faults, f)
}

// Fault adds a fault of a value: what is wrong, and what to do.
func (r *Reader) Fault(at Place, key, value, wrong, remedy string) {
	r.Add(Fault{File: at.File, Line: at.Line, Column: at.Column, Key: key, Value: value, Message: wrong + "; " + remedy})
}

// IsFaulty reports whether there is a fault.
func (r *Reader) IsFaulty() bool { return len(r.faults) > 0 }

// Faults returns the faults in order. It returns nil without a fault. Files come in the given
// order. Within a file, a fault without a line comes last.
func (r *Reader) Faults(files ...string) Faults {
	if !r.IsFaulty() {
		return nil
	}
	order := map[string]int{}
	for i, name := range files {
		order[name] = i
	}
	all := slices.Clone(r.faults)
	slices.SortStableFunc(all, func(a, b Fault) int {
		// As unsigned numbers, line 0 is the greatest.
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(uint(a.Line-1), uint(b.Line-1)), cmp.Compare(a.Column, b.Column))
	})
	if r.omitted > 0 {
		all = append(all, Fault{Message: notListed(r.omitted)})
	}
	return all
}

func notListed(omitted int) string {
	if omitted == 1 {
		return "1 more fault is not listed"
	}
	return fmt.Sprintf("%d more faults are not listed", omitted)
}
