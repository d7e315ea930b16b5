package man

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
)

// program returns a command with everything that a page can have.
func program() *cobra.Command {
	root := &cobra.Command{Use: "prog", Short: "Does it", Version: "v1-rc", Long: "First 'quoted'\n.dotted \\ line.\n\n  kept\n  as it is\n\nLast."}
	root.PersistentFlags().String("dir", "/run", "the `DIR` of it")
	sub := &cobra.Command{Use: "sub WORD", Short: "Is below", Example: "  prog sub x", Run: func(*cobra.Command, []string) {}}
	sub.Flags().BoolP("yes", "y", false, "agree")
	sub.Flags().String("gone", "", "not to be seen")
	sub.Flags().String("old", "", "with or without a value")
	sub.Flags().Lookup("old").NoOptDefVal = "true"
	_ = sub.Flags().MarkHidden("gone") // the flag is there
	root.AddCommand(sub, Command())
	return root
}

const rootPage = `.TH "PROG" 8 "2026-01-02" "prog v1\-rc" "prog"
.SH NAME
prog \- Does it
.SH SYNOPSIS
.br
.B prog
COMMAND ...
.SH DESCRIPTION
First \(aqquoted\(aq
\&.dotted \e line.
.PP
.nf
  kept
  as it is
.fi
.PP
Last.
.SH COMMANDS
.TP
\fBprog\-sub\fR(8)
Is below
.SH OPTIONS
.TP
\fB\-\-dir\fR \fIDIR\fR
the DIR of it (default /run)
.TP
\fB\-h\fR, \fB\-\-help\fR
help for prog
.TP
\fB\-v\fR, \fB\-\-version\fR
version for prog
.SH SEE ALSO
\fBprog\-sub\fR(8)
`

const subPage = `.TH "PROG\-SUB" 8 "2026-01-02" "prog v1\-rc" "prog"
.SH NAME
prog\-sub \- Is below
.SH SYNOPSIS
.B prog sub
WORD [flags]
.SH DESCRIPTION
Is below.
.SH OPTIONS
.TP
\fB\-h\fR, \fB\-\-help\fR
help for sub
.TP
\fB\-\-old\fR \fIstring\fR[=true]
with or without a value
.TP
\fB\-y\fR, \fB\-\-yes\fR
agree
.SH OPTIONS OF EVERY COMMAND
.TP
\fB\-\-dir\fR \fIDIR\fR
the DIR of it (default /run)
.SH EXAMPLES
.nf
  prog sub x
.fi
.SH SEE ALSO
\fBprog\fR(8)
`

func TestPages(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SOURCE_DATE_EPOCH", "1767312000")
	root := program()
	root.SetArgs([]string{"man", dir})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for name, want := range map[string]string{"prog.8": rootPage, "prog-sub.8": subPage} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s, %v:\n%s", name, err, got)
		}
	}
}

// TestDate checks that the date comes from SOURCE_DATE_EPOCH only.
func TestDate(t *testing.T) {
	for epoch, want := range map[string]string{"": "", "0": "1970-01-01", "1767312000": "2026-01-02"} {
		if got, err := dateOf(epoch); err != nil || got != want {
			t.Errorf("%q: %q, %v", epoch, got, err)
		}
	}
	if got, err := dateOf("today"); err == nil {
		t.Errorf("today is %q", got)
	}
}
