package arity

import (
	"testing"

	"github.com/spf13/cobra"
)

func TestErrors(t *testing.T) {
	root := &cobra.Command{Use: "prog", Args: None, RunE: func(*cobra.Command, []string) error { return nil }, SilenceErrors: true, SilenceUsage: true}
	for _, c := range []*cobra.Command{
		{Use: "list", Args: None}, {Use: "show NAME", Args: One("a NAME")}, {Use: "check FILE...", Args: Some("a FILE")},
	} {
		c.RunE = root.RunE
		root.AddCommand(c)
	}
	for _, tt := range []struct {
		args []string
		want string // empty for no error
	}{
		{nil, ""},
		{[]string{"list"}, ""},
		{[]string{"show", "x"}, ""},
		{[]string{"check", "x", "y"}, ""},
		{[]string{"lsit"}, `prog has no command "lsit"; did you mean list? see prog --help`},
		{[]string{"sh"}, `prog has no command "sh"; did you mean show? see prog --help`},
		{[]string{"\x1b[2J"}, `prog has no command "\x1b[2J"; see prog --help`},
		{[]string{"list", "a", "b"}, `prog list takes no arguments, but got "a"; see prog list --help`},
		{[]string{"show"}, `prog show needs an argument, a NAME; see prog show --help`},
		{[]string{"show", "a", "b c"}, `prog show takes one argument, a NAME, but got 2: "a", "b c"; see prog show --help`},
		{[]string{"check"}, `prog check needs at least one argument, a FILE; see prog check --help`},
	} {
		root.SetArgs(tt.args)
		err := root.Execute()
		if got := ""; err != nil {
			if got = err.Error(); got != tt.want {
				t.Errorf("%q: %s", tt.args, got)
			}
		} else if tt.want != "" {
			t.Errorf("%q: no error", tt.args)
		}
	}
}
