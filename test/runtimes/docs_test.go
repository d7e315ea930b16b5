package runtimes

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

const page = "../../docs/runtimes.md"

// step is a block of the page: a file to write, or commands to run.
type step struct {
	line     int
	section  string
	language string
	file     string // the last file named before the block
	text     string
}

func stepsOf(t *testing.T) (steps []step) {
	t.Helper()
	named := regexp.MustCompile("`(/etc/[^`]+)`")
	var file, section string
	var in *step
	for i, line := range strings.Split(string(assert.Must(os.ReadFile(page))(t)), "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && in == nil:
			in = &step{line: i + 2, section: section, language: language, file: file}
		case fence:
			steps = append(steps, *in)
			in = nil
		case in != nil:
			in.text += line + "\n"
		case strings.HasPrefix(line, "## "):
			section = line[3:]
		default:
			for _, m := range named.FindAllStringSubmatch(line, -1) {
				file = m[1]
			}
		}
	}
	return steps
}

var varying = regexp.MustCompile(`\b[0-9a-f]{8,}\b|[0-9]+|\s+`)

// alike reports whether two lines differ only in numbers, digests and white space.
func alike(a, b string) bool {
	return varying.ReplaceAllString(strings.TrimSpace(a), "0") == varying.ReplaceAllString(strings.TrimSpace(b), "0")
}

// The page's files are written to their paths, its commands run unchanged, and containerd has
// a pod while the page describes its network.
func TestDocumentedRuntimes(t *testing.T) {
	n := newNode(t)
	assert.NoError(t, n.Node.Forward())
	c := n.containerd(releases(t)[0])
	n.podman()
	n.must("ctr -n k8s.io images export /run/pod.tar %s && ctr images import /run/pod.tar", image)
	n.must("ctr images tag %s docker.io/library/web:1 && podman tag %[1]s docker.io/library/web:1", image)
	var s *sandbox
	for _, step := range stepsOf(t) {
		at := fmt.Sprintf("docs/runtimes.md:%d", step.line)
		if s != nil && (step.section != "containerd" || step.file == conflist && step.language == "json") {
			s.remove()
			s = nil
		}
		switch step.language {
		case "text":
			if !strings.HasPrefix(podmanConf, step.text) {
				t.Errorf("%s: podman's tests have another %s", at, step.file)
			}
		case "json":
			n.write(step.file, step.text)
			if step.file != conflist {
				continue
			}
			c.reads(step.text)
			s = c.sandbox("web")
			if from := n.source(s, n.V4.Server, at); from != n.V4.Node {
				t.Errorf("%s: the server sees %s", at, from)
			}
		default:
			step.run(t, n, at)
		}
	}
	for _, trace := range []string{"table inet masq", "/run/masq-cni", "/var/lib/cni"} {
		if left := n.traces(); strings.Contains(left, trace) {
			t.Errorf("remaining:\n%s", left)
		}
	}
}

// run runs the commands and compares their output with the page.
func (s step) run(t *testing.T, n *node, at string) {
	t.Helper()
	var printed []string
	for line := range strings.Lines(s.text) {
		line = strings.TrimSuffix(line, "\n")
		command, typed := strings.CutPrefix(line, "$ ")
		switch {
		case s.language == "sh":
			n.must("%s", line)
		case typed:
			printed = strings.Split(n.must("%s", command), "\n")
		case len(printed) == 0 || !alike(printed[0], line):
			t.Errorf("%s: the page shows %q, printed is %q", at, line, printed)
			return
		default:
			printed = printed[1:]
		}
	}
}
