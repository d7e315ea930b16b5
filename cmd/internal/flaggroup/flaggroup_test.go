package flaggroup

import (
	"bytes"
	"testing"

	"github.com/spf13/cobra"
)

func TestUsage(t *testing.T) {
	c := &cobra.Command{Use: "prog", Short: "Does it", RunE: func(*cobra.Command, []string) error { return nil }}
	for _, name := range []string{"beta", "old", "alpha", "older"} {
		c.Flags().Bool(name, false, "means "+name)
	}
	Put(c.Flags().Lookup("old"), "Flags without effect")
	Put(c.Flags().Lookup("older"), "Flags without effect")
	Usage(c)
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetArgs([]string{"--help"})
	if err := c.Execute(); err != nil {
		t.Fatal(err)
	}
	const want = `Does it

Usage:
  prog [flags]

Flags:
      --alpha   means alpha
      --beta    means beta
  -h, --help    help for prog

Flags without effect:
      --old     means old
      --older   means older
`
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}
