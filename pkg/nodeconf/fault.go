package nodeconf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a file, or to be warned of. What it repeats from the file is
// quoted and cut to size, so that a fault is one line and harmless on a terminal.
type Fault struct {
	File string `json:"file,omitempty"`
	// Line and Column count from 1, columns in characters. 0 is the file as a
	// whole.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Key is as in the file, with the name below it where there is one:
	// helpers.ftp. Empty where no key is at fault.
	Key string `json:"key,omitempty"`
	// Value is what stands there.
	Value string `json:"value,omitempty"`
	// Message says what is wrong and what to do.
	Message string `json:"message"`
}

// Error is the fault as FILE:LINE:COLUMN: KEY: VALUE: MESSAGE, without the parts
// that it has not.
func (f Fault) Error() string {
	var parts []string
	if f.File != "" {
		parts = append(parts, f.at().String())
	}
	for _, s := range []string{f.Key, f.Value, f.Message} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

func (f Fault) at() place { return place{f.File, f.Line, f.Column} }

// Faults are all that is wrong, in the order of files, lines and columns.
type Faults []Fault

// mostFaults bounds what is reported: a file of a megabyte can have more faults
// than anybody reads, and each may be logged.
const mostFaults = 100

// Error has one fault a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each fault by itself.
func (fs Faults) Unwrap() []error {
	errs := make([]error, len(fs))
	for i, f := range fs {
		errs[i] = f
	}
	return errs
}

// faults are collected while files are read.
type faults struct {
	all  Faults
	more int // those that were one too many
}

func (fs *faults) add(f Fault) {
	if len(fs.all) == mostFaults {
		fs.more++
		return
	}
	fs.all = append(fs.all, f)
}

// fault reports what is wrong with a value, and what to do.
func (fs *faults) fault(at place, key, shown, wrong, mend string) {
	fs.add(Fault{File: at.file, Line: at.line, Column: at.column, Key: key, Value: shown, Message: wrong + "; " + mend})
}

// sorted returns all faults in order. Files come in the order in which they were
// read.
func (fs *faults) sorted(files []string) Faults {
	order := map[string]int{}
	for i, name := range files {
		order[name] = i
	}
	all := slices.Clone(fs.all)
	slices.SortStableFunc(all, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if fs.more > 0 {
		all = append(all, Fault{Message: fmt.Sprintf("and %d more faults", fs.more)})
	}
	return all
}
