package e2e

import (
	"flag"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

var update = flag.Bool("update", false, "write the links between the pages of docs/, and docs/cli.md")

// TestBook checks that docs/README.md links to every page of docs/ once, and that
// every page ends with links to the contents, the previous and the next page.
func TestBook(t *testing.T) {
	const contents = "docs/README.md"
	order := []string{contents}
	for _, m := range regexp.MustCompile(`(?m)^\d+\. \[.+?\]\(([\w./-]+)\)`).FindAllStringSubmatch(textOf(contents), -1) {
		order = append(order, path.Join("docs", m[1]))
	}
	sameNames(t, contents, "pages", append(filesOf(t, "docs/*.md"), "docs/adr/README.md"), order)
	for i, page := range order {
		if slices.Contains(order[:i], page) {
			t.Errorf("%s links to %s twice", contents, page)
		}
		if i == 0 {
			continue
		}
		up := strings.Repeat("../", strings.Count(page, "/")-1)
		link := func(to string) string {
			title, _, _ := strings.Cut(strings.TrimPrefix(textOf(to), "# "), "\n")
			return "[" + title + "](" + up + strings.TrimPrefix(to, "docs/") + ")"
		}
		footer := "\n---\n[Contents](" + up + "README.md)"
		if i > 1 {
			footer += " · Previous: " + link(order[i-1])
		}
		if i < len(order)-1 {
			footer += " · Next: " + link(order[i+1])
		}
		body, _, _ := strings.Cut(textOf(page), "\n---\n")
		generated(t, page, strings.TrimRight(body, "\n")+"\n"+footer+"\n")
	}
	for _, adr := range filesOf(t, "docs/adr/*.md") {
		if name := path.Base(adr); name != "README.md" && !strings.Contains(textOf("docs/adr/README.md"), "("+name+")") {
			t.Errorf("docs/adr/README.md does not link to %s", name)
		}
	}
}

// TestDocumentedHelp checks that docs/cli.md has the help of each command of masq-cni.
func TestDocumentedHelp(t *testing.T) {
	const page = "docs/cli.md"
	w := newWorld(t, nstest.Uplink{})
	var b strings.Builder
	var write func(command ...string)
	write = func(command ...string) {
		out := string(assert.Must(w.Node.Command(soon(t), built("masq-cni"), append(command, "--help")...).Output())(t))
		help, global, _ := strings.Cut(out, "\nGlobal Flags:\n")
		if len(command) == 0 {
			help = out
		} else if _, more, ok := strings.Cut(global, "\n\n"); ok {
			help += "\n" + more
		}
		b.WriteString("\n## " + strings.Join(append([]string{"masq-cni"}, command...), " ") + "\n```text\n" + strings.TrimRight(help, "\n") + "\n```\n")
		_, list, _ := strings.Cut(help, "\nAvailable Commands:\n")
		list, _, _ = strings.Cut(list, "\n\n")
		for line := range strings.Lines(list) {
			if name := strings.Fields(line)[0]; name != "completion" && name != "help" {
				write(append(slices.Clone(command), name)...)
			}
		}
	}
	write()
	text := textOf(page)
	intro, _, _ := strings.Cut(text, "\n## ")
	_, footer, _ := strings.Cut(text, "\n---\n") // TestBook writes it
	generated(t, page, intro+b.String()+"\n---\n"+footer)
}

// generated compares a page with its text, or writes it with -update.
func generated(t *testing.T, page, text string) {
	t.Helper()
	if *update {
		assert.NoError(t, os.WriteFile(inCheckout(page), []byte(text), 0o644))
	} else if textOf(page) != text {
		t.Errorf("%s is out of date: run make docs", page)
	}
}
