package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestCnitool attaches a container by hand, as a person who searches for a fault does, to
// a network with neighbors.
func TestCnitool(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	plugins := []keys{w.masq()}
	for _, n := range theNeighbours() {
		plugins = append(plugins, n.conf(w))
	}
	tool := w.cnitool("net", plugins...)
	p := w.pod("a")
	if out, err := tool.run("status", p); err != nil {
		t.Fatalf("status: %v\n%s", err, out)
	}

	out, err := tool.run("add", p)
	if err != nil {
		t.Fatalf("add: %v\n%s", err, out)
	}
	var result types100.Result
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.result = &result
	for _, plan := range w.Plans() {
		w.seenAs(p, plan, plan.Node)
		if err := portMapped(soon(t), p, plan); err != nil {
			t.Error(err)
		}
	}
	if out, err := tool.run("check", p); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}

	// CHECK fails after the rules were deleted.
	w.nodeRun("nft", "delete table inet masq")
	for _, plan := range w.Plans() {
		w.seenAs(p, plan, p.addr(plan.Server))
	}
	if out, err := tool.run("check", p); err == nil || !strings.Contains(out, "table inet masq: missing") {
		t.Errorf("check without the rules: %v\n%s", err, out)
	}

	for _, when := range []string{"first", "second"} {
		if out, err := tool.run("del", p); err != nil {
			t.Errorf("%s del: %v\n%s", when, err, out)
		}
	}
	if links := assert.Must(p.LinkNames())(t); !slices.Equal(links, []string{"lo"}) {
		t.Errorf("the container still has %v", links)
	}
	traces := w.traces()
	for _, plan := range w.Plans() {
		if own := p.addr(plan.Server).String(); strings.Contains(traces, own) {
			t.Errorf("%s remains:\n%s", own, traces)
		}
	}
}

// cnitool runs the program of that name on its own network.
type cnitool struct {
	w    *world
	name string
	path string
	dir  string // configuration, and the files of the tool in /var/lib
}

func (w *world) cnitool(name string, plugins ...keys) cnitool {
	w.t.Helper()
	c := cnitool{w, name, filepath.Join(os.Getenv("MASQ_PEERS"), "cnitool"), w.t.TempDir()}
	text := assert.Must(json.Marshal(keys{"cniVersion": "1.1.0", "name": name, "plugins": plugins}))(w.t)
	assert.NoError(w.t, os.WriteFile(filepath.Join(c.dir, "10-net.conflist"), text, 0o600))
	assert.NoError(w.t, os.Mkdir(filepath.Join(c.dir, "lib"), 0o700))
	return c
}

// run runs a verb for a container in the node, and returns the output.
func (c cnitool) run(verb string, p *pod) (string, error) {
	c.w.t.Helper()
	// cnitool keeps results in /var/lib/cni; the path cannot be configured.
	cmd := c.w.Node.Command(soon(c.w.t), "unshare", "--mount", "sh", "-c", `mount --bind "$0/lib" /var/lib && exec "$@"`,
		c.dir, c.path, verb, c.name, p.Path())
	capabilities := assert.Must(json.Marshal(published))(c.w.t)
	cmd.Env = append(os.Environ(), "NETCONFPATH="+c.dir, "CAP_ARGS="+string(capabilities),
		"CNI_PATH="+strings.Join(pluginPath(c.w.t), string(filepath.ListSeparator)))
	out, err := cmd.CombinedOutput()
	return string(out), err
}
