package e2e

import (
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestInspectHostileNames: control characters in a pod's name reach neither a terminal nor
// a table, and are unchanged in the output for programs.
func TestInspectHostileNames(t *testing.T) {
	const hostile = "we\x1b[2J\x1b]0;x\ab\u009b31m\u202e\t\n\r"
	w := newWorld(t, nstest.Uplink{})
	p := w.attachNamed("shop", "web", w.masq())
	from, _ := (&past{world: w}).talks(p)
	file := w.recordPath(p.runtime.ContainerID)
	var record map[string]any
	assert.NoError(t, json.Unmarshal(assert.Must(os.ReadFile(file))(t), &record))
	for _, key := range []string{"podNamespace", "podName"} {
		if record[key] == nil {
			t.Fatalf("a record has no %s: %v", key, record)
		}
		record[key] = hostile
	}
	assert.NoError(t, os.WriteFile(file, assert.Must(json.Marshal(record))(t), 0o600))

	id := p.runtime.ContainerID
	for _, words := range []string{"inspect", "inspect pods", "inspect pod " + id, "inspect flows", "inspect helpers", "inspect ports", "inspect rules", "inspect drift", "who " + from.String()} {
		for _, format := range []string{"", "wide", "json", "yaml"} {
			args := strings.Fields(words)
			if format != "" {
				args = append(args, "-o", format)
			}
			out, err := w.command(w.Node, args...).CombinedOutput()
			if err != nil {
				t.Errorf("%v: %v\n%q", args, err, out)
			}
			if i := strings.IndexFunc(string(out), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%v: %q gets through", args, out[i:min(len(out), i+10)])
			}
			named := slices.ContainsFunc([]string{`we\x1b[2J`, `we\u001b[2J`, `we\e[2J`}, func(s string) bool { return strings.Contains(string(out), s) })
			if should := strings.HasPrefix(words, "who") || strings.Contains(words, "pod") || strings.Contains(words, "flows"); named != should {
				t.Errorf("%v: named %t\n%s", args, named, out)
			}
		}
	}
	if flows, _ := w.who(from.String()); sole(t, flows).PodName != hostile {
		t.Errorf("the output for programs has %q", flows[0].PodName)
	}
	// On a terminal the output has our own colors and no other sequences. The test's screen
	// fails if it receives an unknown sequence.
	for _, words := range []string{"pods", "flows", "pod " + id} {
		x := newScreen(t, 200, 20)
		c := w.command(w.Node, append([]string{"inspect", "--watch"}, strings.Fields(words)...)...)
		x.run(c)
		x.sees("the name is shown", `we\x1b[2J\x1b]0;x\ab\u009b31m\u202e\t\n\r`)
		x.press("q")
		assert.NoError(t, c.Wait())
	}
	// Shell completion does not offer names that it cannot show.
	if out := assert.Must(w.command(w.Node, "__complete", "inspect", "pod", "").Output())(t); strings.Contains(string(out), "we") {
		t.Errorf("%q", out)
	}
}

// TestInspectStalledReader: the list is complete even if its reader stops for a while and
// the table changes in that time.
func TestInspectStalledReader(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attachNamed("ns", "p", w.masq())
	const lasting = 2000
	w.fill(lasting)
	c := w.command(w.Node, "inspect", "flows", "-o", "json")
	out := assert.Must(c.StdoutPipe())(t)
	assert.NoError(t, c.Start())
	// After one byte the list has begun; a pipe holds only a small part of the rest.
	first := make([]byte, 1)
	assert.Must(io.ReadFull(out, first))(t)
	server := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 7)))(t)
	for i := range uint16(200) {
		assert.NoError(t, p.EchoUDP(soon(t), at(p.addr(w.V4.Server), 10000+i), server.Addr(), 1))
	}
	w.nodeRun("conntrack", "-D", "-s", p.addr(w.V4.Server).String())
	rest := assert.Must(io.ReadAll(out))(t)
	assert.NoError(t, c.Wait())
	if len(rest) < 1<<20 {
		t.Fatalf("%d bytes fit into a pipe, so the test proves nothing", len(rest))
	}
	var flows []report.Flow
	assert.NoError(t, json.Unmarshal(append(first, rest...), &flows))
	seen := map[report.Tuple]bool{}
	for _, f := range flows {
		if f.Owner == (report.Owner{}) {
			seen[f.Original] = true
		}
	}
	if len(seen) != lasting {
		t.Errorf("%d of %d flows", len(seen), lasting)
	}
}

// TestInspectFragments: a datagram that leaves in fragments belongs to its container, also
// if another container has sent one from the same port.
func TestInspectFragments(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	assert.NoError(t, w.Node.Sysctl("net.netfilter.nf_conntrack_acct", "1"))
	const size, port = 3000, 5353
	for _, plan := range w.Plans() {
		server := assert.Must(w.Server.ServeUDP(at(plan.Server, 53)))(t)
		seen := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return q.Src == plan.Node && (q.FragOffset > 0 || q.MoreFragments) }))(t)
		for i, name := range []string{"a", "b"} {
			p := w.attachNamed("ns", name+strings.ReplaceAll(filepath.Base(plan.Server.String()), ":", ""), w.masq())
			assert.NoError(t, p.EchoUDP(soon(t), at(p.addr(plan.Server), port), server.Addr(), size))
			from := assert.Must(server.WaitSeen(soon(t), i+1))(t)[i].Source
			fragments := assert.Must(seen.Wait(soon(t), func(all []nstest.Packet) bool { return len(all) >= 3*(i+1) }))(t)[3*i:]
			last := fragments[len(fragments)-1]
			flows, _ := w.who(from.String()+"/udp", "--to", server.Addr().String())
			f := sole(t, flows)
			// The node reassembles the fragments before it counts.
			header := uint64(28)
			if plan.Server.Is6() {
				header = 48
			}
			if f.Owner != p.owner() || f.Original.SourcePort != port || f.Packets != (report.Sides{Original: 1, Reply: 1}) || f.Bytes.Original != size+header || last.MoreFragments {
				t.Errorf("%s from %s: %+v of %v", name, from, f, fragments)
			}
		}
	}
	// The control: a tuple without a flow.
	if flows, found := w.who(netip.AddrPortFrom(w.V4.Node, 1).String() + "/udp"); found {
		t.Errorf("%+v", flows)
	}
}
