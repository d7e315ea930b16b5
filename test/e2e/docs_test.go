package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/nodeconf"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// proofs maps every command of the documentation to the way it is tested. A command that
// is missing here fails TestDocumentedCommands.
var proofs = map[string]proof{
	"make build": target{},

	"install -D -m 755 -t /usr/local/bin bin/masqd bin/masq-cni":            runs{},
	"install -D -m 644 -t /etc/systemd/system deploy/systemd/masqd.service": runs{},
	"systemctl enable --now masqd":                                          unit("start"),
	"systemctl reload masqd":                                                unit("reload"),
	"systemctl stop masqd":                                                  unit("stop"),
	"curl -s http://127.0.0.1:9468/readyz":                                  runs{},
	"curl -s http://127.0.0.1:9468/metrics | grep -E '^masq_(drift|repairs_total.*rule|repair_loops)'":               runs{},
	"curl -s http://127.0.0.1:9468/metrics | grep -E '^masq_helper_(refused|unreadable)_total.* [1-9]' || echo none": runs{},

	"masq-cni demo": runs{},
	"masq-cni config check /etc/config/ip-masq-agent": runs{says: "direct, IPv4"},
	"echo 'nonMasqueradeCIDRs: [10.0.0.1/8]' >new":    runs{},
	"masq-cni config check new":                       runs{code: 1},
	"masq-cni clamp add 198.51.100.0/24 1240":         runs{then: "nft list map inet masq $(nft list maps inet | grep -o 'mss4-[^ ]*' | head -1) | grep 1240"},
	"masq-cni clamp list":                             runs{},
	"masq-cni clamp delete 198.51.100.0/24":           runs{then: "! nft list maps inet | grep mss4-"},
	"masq-cni uninstall":                              runs{says: "removed: table inet masq"},
	"masq-cni uninstall || echo $?":                   runs{},
	"masq-cni uninstall --force":                      runs{},

	"ip netns add probe": runs{},
	"ip netns del probe": runs{},
	"CNI_PATH=/opt/cni/bin cnitool status pods /run/netns/probe": runs{},
	"CNI_PATH=/opt/cni/bin cnitool add pods /run/netns/probe":    runs{says: `"sandbox": "/run/netns/probe"`},
	"CNI_PATH=/opt/cni/bin cnitool check pods /run/netns/probe":  runs{},
	"CNI_PATH=/opt/cni/bin cnitool del pods /run/netns/probe":    runs{},

	"nft list map inet masq policy4":        runs{},
	"nft list table inet masq":              runs{},
	"nft list chain inet masq clamp":        runs{},
	"nft list chain inet masq sources":      runs{},
	"nft list chain inet masq invalid":      runs{},
	"nft list chain inet masq origin":       runs{},
	"nft flush chain inet masq postrouting": runs{then: "nft list chain inet masq postrouting | grep postrouting/policy4"},
	"nft list ct helpers table inet masq":   runs{says: `type "ftp" protocol tcp`},
	"conntrack -L expect":                   runs{},
}

// proof tests a command.
type proof interface {
	prove(m *docNode, c docCommand) error
}

// target is a target of the Makefile. Tests cannot run it: it would build the tests.
type target struct{}

func (target) prove(_ *docNode, c docCommand) error {
	name := strings.TrimPrefix(c.text, "make ")
	if !slices.Contains(makeTargets(), name) {
		return fmt.Errorf("the Makefile has no target %s", name)
	}
	return nil
}

func makeTargets() (out []string) {
	for _, m := range regexp.MustCompile(`(?m)^([a-z]+):.*##`).FindAllStringSubmatch(textOf("Makefile"), -1) {
		out = append(out, m[1])
	}
	return out
}

// runs runs the command unchanged in the node of a lab.
type runs struct {
	code int
	says string // required output in addition to the output on the page
	then string // a command that must succeed soon afterwards
}

func (p runs) prove(m *docNode, c docCommand) error {
	cmd := m.shell(c.text)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		return err
	}
	if code := cmd.ProcessState.ExitCode(); code != p.code {
		return fmt.Errorf("exit code %d, not %d:\n%s", code, p.code, out)
	}
	if !strings.Contains(string(out), p.says) {
		return fmt.Errorf("it does not say %q:\n%s", p.says, out)
	}
	if err := printed(c.output, string(out)); err != nil || p.then == "" {
		return err
	}
	return m.soon(p.then)
}

// printed reports which lines of a page's output a command did not print. A line "..."
// stands for any number of lines. Values that differ between runs are ignored.
func printed(page []string, out string) error {
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	exact := true // the next line must follow directly
	for _, want := range page {
		if want == "..." {
			exact = false
			continue
		}
		i := slices.IndexFunc(lines, func(s string) bool { return anyRun(s) == anyRun(want) })
		if i < 0 || exact && i > 0 {
			return fmt.Errorf("the page shows %q; it prints:\n%s", want, out)
		}
		lines, exact = lines[i+1:], true
	}
	if len(page) > 0 && exact && len(lines) > 0 {
		return fmt.Errorf("the page lacks lines of the output:\n%s", strings.Join(lines, "\n"))
	}
	return nil
}

var varying = regexp.MustCompile(`\bveth[0-9a-f]+\b|\b[0-9.]+(ms|µs|s)\b|\b[0-9a-f]{8,}\b|[0-9]+`)

// anyRun removes values that differ between runs from a text: numbers, digests, durations
// and line breaks.
func anyRun(s string) string {
	return varying.ReplaceAllString(strings.Join(strings.Fields(s), " "), "0")
}

// docNode is a node as the documentation assumes it, with a built checkout. Commands run
// unchanged: the system directories that they write to are private to the node.
type docNode struct {
	*world
	checkout string
	holder   *nstest.Command // process that holds the mount namespace
	masqd    *nstest.Command
}

// furnish gives the node private system directories in a mount namespace. curl is a
// replacement for machines without curl; its output is masqd's answer.
const furnish = `set -eu
for dir in /run /opt /var/lib /usr/local/bin; do mount -t tmpfs tmpfs $dir; done
mkdir etc && cp -a /etc/. etc && mount --bind etc /etc
rm -rf /etc/cni /etc/config && mkdir -p /run/netns /opt/cni/bin /etc/cni/net.d /etc/config
ln -s "$MASQ_PEERS"/* /opt/cni/bin/
mkdir checkout && cd checkout && ln -s "$MASQ_BIN" bin && ln -s "$1/deploy" .
cat >/usr/local/bin/curl <<'end'
#!/bin/bash
[[ "$1 $2" =~ ^-s\ http://([0-9.]+):([0-9]+)(/.*)$ ]] || exit 2
exec 3<>"/dev/tcp/${BASH_REMATCH[1]}/${BASH_REMATCH[2]}" || exit 7
printf 'GET %s HTTP/1.0\r\n\r\n' "${BASH_REMATCH[3]}" >&3
sed '1,/^\r$/d' <&3
end
chmod 755 /usr/local/bin/curl
echo ready
exec sleep infinity
`

func newDocNode(t *testing.T) *docNode {
	t.Helper()
	m := &docNode{world: newWorld(t, nstest.Uplink{})}
	m.checkout = filepath.Join(m.dir, "checkout")
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(m.dir, "masqd.log")); err == nil && t.Failed() {
			t.Logf("masqd said:\n%s", log)
		}
	})
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	m.holder = m.Node.Command(context.WithoutCancel(t.Context()), "unshare", "--mount", "bash", "-c", furnish, "furnish", root)
	m.holder.Dir = m.dir
	m.holder.Stderr = os.Stderr
	out, err := m.holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscanf(out, "ready\n"); err != nil {
		t.Fatalf("prepare the node: %v", err)
	}
	return m
}

// shell returns a command that runs a command line in the node.
func (m *docNode) shell(line string) *nstest.Command {
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Minute)
	m.t.Cleanup(cancel)
	cmd := m.Node.Command(ctx, "nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", m.holder.Process.Pid), "--wd="+m.checkout, "--", "bash", "-c", line)
	cmd.Env = append(os.Environ(), "PATH=/usr/local/bin:"+os.Getenv("MASQ_PEERS")+":"+os.Getenv("PATH"))
	return cmd
}

func (m *docNode) ok(line string) bool { return m.shell(line).Run() == nil }

func (m *docNode) must(line string) {
	m.t.Helper()
	if out, err := m.shell(line).CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

func (m *docNode) write(name, text string) {
	m.t.Helper()
	cmd := m.shell("cat >" + name)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("write %s: %v\n%s", name, err, out)
	}
}

// soon waits until a command line succeeds.
func (m *docNode) soon(line string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx := soon(m.t); !m.ok(line); {
		select {
		case <-ctx.Done():
			return fmt.Errorf("this still fails: %s", line)
		case <-tick.C:
		}
	}
	return nil
}

// installed follows the README and docs/daemon.md, and adds a container.
func (m *docNode) installed() {
	m.t.Helper()
	m.must("install -D -m 755 -t /opt/cni/bin bin/masq; install -D -m 755 -t /usr/local/bin bin/masqd bin/masq-cni")
	m.network()
	m.must("ip netns add web && CNI_PATH=/opt/cni/bin cnitool add pods /run/netns/web")
}

// network writes the README's conflist and the node's configuration.
func (m *docNode) network() {
	m.t.Helper()
	m.write("/etc/cni/net.d/10-pods.conflist", readmeNetwork(m.t))
	m.write("/etc/config/ip-masq-agent", textsOf(m.t, "docs/node-configuration.md", "yaml")[0])
}

// before and after are the conditions that a page assumes, and the result of its commands.
var (
	before = map[string]func(*docNode){
		"docs/daemon.md":             (*docNode).installed,
		"docs/node-configuration.md": (*docNode).installed,
		"docs/protocols.md":          (*docNode).installed,
		"docs/troubleshooting.md": func(m *docNode) {
			m.must("install -D -m 755 -t /opt/cni/bin bin/masq; install -D -m 755 -t /usr/local/bin bin/masqd bin/masq-cni")
			m.must("install -D -m 644 -t /etc/systemd/system deploy/systemd/masqd.service")
			m.network()
			if err := unit("start").prove(m, docCommand{}); err != nil {
				m.t.Fatal(err)
			}
		},
	}
	after = map[string]func(*docNode){
		"docs/troubleshooting.md": func(m *docNode) {
			m.must("! nft list table inet masq && ! ls -d /run/masq-cni && ! ip link | grep veth")
		},
	}
)

func TestDocumentedCommands(t *testing.T) {
	used := map[string]bool{}
	for _, page := range pages(t) {
		if slices.Contains([]string{"docs/runtimes.md", "docs/kubernetes.md", "docs/monitoring.md", "docs/packages.md"}, page) {
			continue // test/runtimes, test/deploy and test/kube run their commands
		}
		if page == migratePage {
			continue // TestMigration runs its commands, in order
		}
		commands := commandsOf(t, page)
		if page == "README.md" { // test/runtimes runs its sh blocks
			commands = slices.DeleteFunc(commands, func(c docCommand) bool { return !c.console })
		}
		for _, c := range commands {
			used[c.text] = true
		}
		t.Run(page, func(t *testing.T) {
			var m *docNode
			for _, c := range commands {
				p, known := proofs[c.text]
				if !known {
					t.Errorf("%s:%d: this command has no proof: %s\nadd it to proofs", page, c.line, c.text)
					continue
				}
				if _, inMakefile := p.(target); !inMakefile && m == nil {
					m = newDocNode(t)
					if f := before[page]; f != nil {
						f(m)
					}
				}
				if err := p.prove(m, c); err != nil {
					t.Errorf("%s:%d: %s: %v", page, c.line, c.text, err)
				}
			}
			if f := after[page]; f != nil && m != nil && !t.Failed() {
				f(m)
			}
			for _, text := range spans(page) {
				if name, ok := strings.CutPrefix(text, "make "); ok && !slices.Contains(makeTargets(), strings.Fields(name)[0]) {
					t.Errorf("%s: the Makefile has no target for %s", page, text)
				}
			}
		})
	}
	for text := range proofs {
		if !used[text] {
			t.Errorf("no page has this command: %s", text)
		}
	}
}

func TestDocumentedConfigurations(t *testing.T) {
	for _, page := range pages(t) {
		for _, b := range blocksOf(t, page) {
			text := []byte(strings.Join(b.lines, "\n") + "\n")
			var err error
			switch b.language {
			case "json":
				err = acceptable(text)
			case "yaml":
				_, err = nodeconf.Parse(page, text)
			case "sh":
				if page == "README.md" && strings.Contains(string(text), "<<'END'") {
					err = acceptable([]byte(readmeNetwork(t)))
				}
			}
			if err != nil {
				t.Errorf("%s:%d: %s", page, b.line, describe(err))
			}
		}
	}
}

// acceptable parses JSON, and has masq validate the configurations that name masq, in the
// form in which libcni passes them.
func acceptable(text []byte) error {
	var is struct {
		Type       string
		CNIVersion string
		Plugins    []json.RawMessage
	}
	if err := json.Unmarshal(text, &is); err != nil {
		return err
	}
	if is.CNIVersion > "1.0.0" {
		return fmt.Errorf("cniVersion %s is refused by containerd 1.6, which Debian 12 has", is.CNIVersion)
	}
	if is.Plugins == nil {
		if is.Type == "" {
			return nil
		}
		text = fmt.Appendf(nil, `{"cniVersion": "1.1.0", "name": "net", "plugins": [%s]}`, text)
	}
	list, err := libcni.NetworkConfFromBytes(text)
	if err != nil {
		return err
	}
	for _, p := range list.Plugins {
		if p.Network.Type != "masq" {
			continue
		}
		given, err := libcni.InjectConf(p, map[string]any{"name": list.Name, "cniVersion": list.CNIVersion})
		if err != nil {
			return err
		}
		if _, err := cniconf.Load(given.Bytes, ""); err != nil {
			return err
		}
	}
	return nil
}

func TestDocumentedFilesAreThere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	named := regexp.MustCompile(`^(?:\.ci|cmd|deploy|docs|hack|pkg|plugins|test)/[\w./-]+$`)
	// A test outside test/e2e is named with its package: pkg/veth.TestRepair.
	proof := regexp.MustCompile(`^(?:((?:cmd|pkg|plugins|test)/[\w/-]+)\.)?((?:Test|Fuzz)[A-Z]\w+)$`)
	for _, page := range slices.Concat(filesOf(t, "*.md"), filesOf(t, "docs/*.md"), filesOf(t, "docs/adr/*.md")) {
		for _, m := range link.FindAllStringSubmatch(prose(page), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			at := page
			if file != "" {
				at = path.Join(path.Dir(page), file)
			}
			if _, err := os.Stat(inCheckout(at)); err != nil {
				t.Errorf("%s: %v", page, err)
			} else if anchor != "" && !slices.Contains(anchors(at), anchor) {
				t.Errorf("%s: %s has no heading #%s", page, at, anchor)
			}
		}
		for _, text := range spans(page) {
			if m := proof.FindStringSubmatch(text); m != nil {
				dir := cmp.Or(m[1], "test/e2e")
				if !strings.Contains(goSource(t, dir), "func "+m[2]+"(") {
					t.Errorf("%s: %s has no %s", page, dir, m[2])
				}
			} else if named.MatchString(text) {
				if _, err := os.Stat(inCheckout(text)); err != nil {
					t.Errorf("%s: %v", page, err)
				}
			}
		}
	}
}

// TestSecurityPage: each promise of docs/security.md names the mechanism and a test.
// TestDocumentedFilesAreThere checks that the tests exist.
func TestSecurityPage(t *testing.T) {
	const page, heading = "docs/security.md", "| promise | what stops it | test that shows it | what remains inherent in Linux |"
	test := regexp.MustCompile("`(?:[\\w/-]+\\.)?(?:Test|Fuzz)[A-Z]\\w+`")
	headings, rows := 0, 0
	for line := range strings.Lines(prose(page)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == heading:
			headings++
		case !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|-"):
		default:
			rows++
			cells := strings.Split(strings.Trim(line, "|"), "|")
			if len(cells) != 4 || strings.TrimSpace(cells[0]) == "" || strings.TrimSpace(cells[1]) == "" || !test.MatchString(cells[2]) {
				t.Errorf("%s: not a row of promise, what stops it, test, what remains: %s", page, line)
			}
		}
	}
	const attackers = 6
	if headings != attackers || rows < headings {
		t.Errorf("%s has %d tables with %d rows, want a table for each of %d attackers", page, headings, rows, attackers)
	}
}

func TestDocumentedFlags(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	for program, page := range map[string]string{"masqd": "docs/flags.md", "kubectl-masq": "docs/kubectl.md"} {
		out := assert.Must(w.Node.Command(soon(t), built(program), "--help").Output())(t)
		var is []string
		for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[\w.-]+)(.*)$`).FindAllStringSubmatch(string(out), -1) {
			if m[1] == "--help" || m[1] == "--version" {
				continue
			}
			is = append(is, m[1])
			if d := regexp.MustCompile(`\(default "?(.+?)"?\)$`).FindStringSubmatch(m[2]); d != nil {
				// The default is the second column, or in the description.
				row := regexp.MustCompile("(?m)^\\| `" + m[1] + "\\b[^`]*` \\| (.*?) \\|").FindStringSubmatch(textOf(page))
				if row == nil || strings.Trim(row[1], "`") != d[1] && !strings.Contains(row[1], "the default is `"+d[1]+"`") {
					t.Errorf("%s does not say that the default of %s is %s", page, m[1], d[1])
				}
			}
		}
		var names []string
		for _, flag := range column(page, "flag") {
			if name, _, _ := strings.Cut(flag, " "); strings.HasPrefix(name, "--") {
				names = append(names, name)
			}
		}
		sameNames(t, page, "flags", is, names)
	}
}

func TestDocumentedKeys(t *testing.T) {
	var schema struct{ Properties map[string]any }
	if err := json.Unmarshal([]byte(textOf("deploy/masq-agent.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	sameNames(t, "docs/node-configuration.md", "keys", slices.Collect(maps.Keys(schema.Properties)), column("docs/node-configuration.md", "key"))

	ours := regexp.MustCompile(`(?s)var ourKeys = \[\]string\{(.*?)\}`).FindStringSubmatch(goSource(t, "pkg/cniconf"))
	if ours == nil {
		t.Fatal("pkg/cniconf has no ourKeys")
	}
	is := []string{"ipam"}
	for _, m := range regexp.MustCompile(`"(\w+)"`).FindAllStringSubmatch(ours[1], -1) {
		is = append(is, m[1])
	}
	sameNames(t, "docs/configuration.md", "keys", is, column("docs/configuration.md", "key"))
}

func TestDocumentedPackages(t *testing.T) {
	const module = "github.com/masq-cni/masq-cni/"
	var is []string
	for _, dir := range filesOf(t, "pkg/*") {
		imports := map[string]bool{}
		for _, name := range filesOf(t, dir+"/*.go") {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), inCheckout(name), nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range f.Imports {
				if of, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), module+"pkg/"); ok {
					imports["`"+of+"`"] = true
				}
			}
		}
		is = append(is, dir+" imports "+strings.Join(slices.Sorted(maps.Keys(imports)), ", "))
	}
	var page []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(pkg/\\w+)` \\|.*\\| (.*?) ?\\|$").FindAllStringSubmatch(textOf("docs/architecture.md"), -1) {
		page = append(page, m[1]+" imports "+m[2])
	}
	sameNames(t, "docs/architecture.md", "packages", is, page)
}

func TestDocumentedDependencies(t *testing.T) {
	const adr = "docs/adr/0003-direct-dependencies.md"
	direct := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`)
	var is []string
	for _, m := range direct.FindAllStringSubmatch(textOf("go.mod"), -1) {
		is = append(is, m[1])
	}
	sameNames(t, adr, "direct dependencies", is, column(adr, "module"))
}

// The picture shows the demo's present output, except for values that differ between runs.
func TestPicture(t *testing.T) {
	var b strings.Builder
	for _, m := range regexp.MustCompile(`<text[^>]*>([^<]*)</text>`).FindAllStringSubmatch(textOf("docs/demo.svg"), -1) {
		b.WriteString(strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(m[1]) + "\n")
	}
	shown, ok := strings.CutPrefix(b.String(), "# masq-cni demo\n")
	shown, more := strings.CutSuffix(shown, "...\n")
	if !ok || !more {
		t.Fatalf("docs/demo.svg shows something else:\n%s", b.String())
	}
	m := newDocNode(t)
	out, err := m.shell("bin/masq-cni demo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if now := anyRun(string(out)); !strings.HasPrefix(now, anyRun(shown)) {
		t.Errorf("docs/demo.svg shows\n%s\nand the demo prints\n%s\nRun hack/picture.", shown, out)
	}
}

// sameNames compares the names of the program with the names on a page.
func sameNames(t *testing.T, page, what string, is, has []string) {
	t.Helper()
	if len(is) == 0 {
		t.Errorf("found no %s to compare %s with", what, page)
	}
	for _, name := range is {
		if !slices.Contains(has, name) {
			t.Errorf("%s lacks %s (%s)", page, name, what)
		}
	}
	for _, name := range has {
		if !slices.Contains(is, name) {
			t.Errorf("%s lists %s, which does not exist (%s)", page, name, what)
		}
	}
}

func inCheckout(name string) string { return filepath.Join("..", "..", filepath.FromSlash(name)) }

func textOf(name string) string {
	b, err := os.ReadFile(inCheckout(name))
	if err != nil {
		panic(err) // a file of the checkout
	}
	return string(b)
}

// filesOf returns the files of the checkout that match a pattern, with paths relative to
// the checkout.
func filesOf(t *testing.T, pattern string) (out []string) {
	t.Helper()
	names, err := filepath.Glob(inCheckout(pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	for _, name := range names {
		out = append(out, strings.TrimPrefix(filepath.ToSlash(name), "../../"))
	}
	return out
}

// goSource returns the text of all Go files of a directory.
func goSource(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range filesOf(t, dir+"/*.go") {
		b.WriteString(textOf(name))
	}
	return b.String()
}

// pages lists the pages of the documentation.
func pages(t *testing.T) []string {
	t.Helper()
	return append([]string{"README.md"}, filesOf(t, "docs/*.md")...)
}

// docBlock is a fenced block of a page.
type docBlock struct {
	language string
	line     int // number of its first line
	lines    []string
}

func blocksOf(t testing.TB, page string) (out []docBlock) {
	t.Helper()
	open := false
	for i, line := range strings.Split(textOf(page), "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !open:
			if !slices.Contains([]string{"sh", "console", "json", "yaml", "text"}, language) {
				t.Errorf("%s:%d: the language of a block must be sh, console, json, yaml or text, not %q", page, i+1, language)
			}
			out = append(out, docBlock{language: language, line: i + 2})
			open = true
		case fence:
			open = false
		case open:
			last := &out[len(out)-1]
			last.lines = append(last.lines, line)
		}
	}
	return out
}

// readmeNetwork returns the file that a block of the README writes.
func readmeNetwork(t testing.TB) string {
	t.Helper()
	m := regexp.MustCompile(`(?s)<<'END'\n(\{\n.*?\n\}\n)END\n`).FindStringSubmatch(textOf("README.md"))
	if m == nil {
		t.Fatal("no block of README.md writes a network")
	}
	return m[1]
}

// textsOf returns the blocks of a language, and fails if there are none.
func textsOf(t testing.TB, page, language string) (out []string) {
	t.Helper()
	for _, b := range blocksOf(t, page) {
		if b.language == language {
			out = append(out, strings.Join(b.lines, "\n")+"\n")
		}
	}
	if out == nil {
		t.Fatalf("%s has no block of %s", page, language)
	}
	return out
}

// docCommand is a command on a page.
type docCommand struct {
	text    string
	line    int
	output  []string // its output on the page
	console bool     // in a console block
}

func commandsOf(t *testing.T, page string) (out []docCommand) {
	t.Helper()
	comment := regexp.MustCompile(`(^|\s+)# .*$`)
	for _, b := range blocksOf(t, page) {
		for i, line := range b.lines {
			text, typed := strings.CutPrefix(line, "$ ")
			switch {
			case b.language == "sh":
				if text = comment.ReplaceAllString(line, ""); text != "" {
					out = append(out, docCommand{text: text, line: b.line + i})
				}
			case typed && b.language == "console":
				out = append(out, docCommand{text: text, line: b.line + i, console: true})
			case typed:
				t.Errorf("%s:%d: a command in a block of %s", page, b.line+i, b.language)
			case b.language == "console" && i == 0:
				t.Errorf("%s:%d: output without a command", page, b.line)
			case b.language == "console":
				last := &out[len(out)-1]
				last.output = append(last.output, line)
			}
		}
	}
	return out
}

// prose returns a page without its blocks.
func prose(page string) string {
	return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(textOf(page), "")
}

// spans returns the code spans in a page's prose.
func spans(page string) (out []string) {
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(prose(page), -1) {
		out = append(out, m[1])
	}
	return out
}

// anchors returns the headings of a page in the form that links use.
func anchors(page string) (out []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(prose(page), -1) {
		plain := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		out = append(out, strings.ReplaceAll(plain, " ", "-"))
	}
	return out
}

// column returns the code spans in the first column of a page's tables with this heading,
// without labels.
func column(page, heading string) (out []string) {
	in := false
	for line := range strings.Lines(prose(page)) {
		cell, _, row := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		switch {
		case !strings.HasPrefix(line, "|") || !row && !strings.HasPrefix(line, "|--"):
			in = false
		case cell == heading:
			in = true
		case in:
			for _, m := range regexp.MustCompile("`([^`{]+)(?:\\{.*?\\})?`").FindAllStringSubmatch(cell, -1) {
				out = append(out, m[1])
			}
		}
	}
	return out
}
