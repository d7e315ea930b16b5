package man

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/masq-cni/masq-cni/cmd/internal/flaggroup"
)

// section is the manual section for the administration of a machine.
const section = "8"

// name returns the name of a page, such as masq-cni-inspect-flows.
func name(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// page returns the manual page of a command.
func page(c *cobra.Command, date string) []byte {
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	root := c.Root()
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`.TH "%s" %s "%s" "%s" "%s"`, text(strings.ToUpper(name(c))), section, date, text(root.Name()+" "+root.Version), text(root.Name()))
	line(".SH NAME\n%s \\- %s", text(name(c)), text(c.Short))
	line(".SH SYNOPSIS")
	if c.Runnable() {
		line(".B %s\n%s", text(c.CommandPath()), text(strings.TrimSpace(strings.TrimPrefix(c.UseLine(), c.CommandPath()))))
	}
	if len(commands(c)) > 0 {
		line(".br\n.B %s\nCOMMAND ...", text(c.CommandPath()))
	}
	line(".SH DESCRIPTION")
	described := c.Long
	if described == "" {
		described = c.Short + "."
	}
	prose(&b, described)
	if subs := commands(c); len(subs) > 0 {
		line(".SH COMMANDS")
		for _, sub := range subs {
			line(".TP\n\\fB%s\\fR(%s)\n%s", text(name(sub)), section, text(sub.Short))
		}
	}
	for _, g := range flaggroup.Of(c.NonInheritedFlags()) {
		heading := "OPTIONS"
		if g.Name != "" {
			heading = strings.ToUpper(g.Name)
		}
		options(&b, heading, g.Flags)
	}
	options(&b, "OPTIONS OF EVERY COMMAND", c.InheritedFlags())
	if c.Example != "" {
		line(".SH EXAMPLES\n.nf\n%s\n.fi", text(c.Example))
	}
	if others := related(c); len(others) > 0 {
		line(".SH SEE ALSO\n%s", strings.Join(others, ",\n"))
	}
	return b.Bytes()
}

// related returns the pages of the command above c, of the commands below it, and of the
// other commands at its level.
func related(c *cobra.Command) []string {
	all := commands(c)
	if c.HasParent() {
		all = append(all, c.Parent())
		all = append(all, commands(c.Parent())...)
	}
	var out []string
	for _, x := range all {
		if x != c {
			out = append(out, fmt.Sprintf(`\fB%s\fR(%s)`, text(name(x)), section))
		}
	}
	slices.Sort(out)
	return out
}

// prose writes paragraphs. An indented paragraph keeps its lines.
func prose(b *bytes.Buffer, s string) {
	for i, p := range strings.Split(strings.TrimSpace(s), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		if strings.HasPrefix(p, " ") {
			fmt.Fprintf(b, ".nf\n%s\n.fi\n", text(p))
			continue
		}
		fmt.Fprintln(b, text(p))
	}
}

func options(b *bytes.Buffer, heading string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintln(b, ".SH", heading)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		head := `\fB` + text("--"+f.Name) + `\fR`
		if f.Shorthand != "" {
			head = `\fB` + text("-"+f.Shorthand) + `\fR, ` + head
		}
		if value != "" {
			head += ` \fI` + text(value) + `\fR`
		}
		if f.NoOptDefVal != "" && value != "" { // the value is optional
			head += text("[=" + f.NoOptDefVal + "]")
		}
		if d := f.DefValue; !slices.Contains([]string{"", "0", "false", "[]", "0s"}, d) {
			usage += " (default " + d + ")"
		}
		fmt.Fprintf(b, ".TP\n%s\n%s\n", head, text(usage))
	})
}

// escaped replaces the characters that have a meaning in roff (groff_char(7)).
var escaped = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, `"`, `\(dq`, "^", `\(ha`, "~", `\(ti`)

// text returns text as roff. A line with a leading dot would be a request.
func text(s string) string {
	lines := strings.Split(escaped.Replace(s), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
