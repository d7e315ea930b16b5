package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestFlowsWithoutScrapes: connections of the node to masqd are listed only on request, and a
// line gives their number. A pod's connections to the same port elsewhere are listed.
func TestFlowsWithoutScrapes(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attachNamed("ns", "p", w.masq())
	d := w.daemon()
	for _, path := range []string{"/metrics", "/readyz"} {
		if code, body := d.get(path); code != 200 {
			t.Fatalf("%s: %d %s", path, code, body)
		}
	}
	elsewhere := assert.Must(w.Server.ServeTCP(at(w.V4.Server, 9468)))(t)
	c := assert.Must(p.Dial(soon(t), "tcp", netip.AddrPort{}, elsewhere.Addr()))(t)
	defer func() { _ = c.Close() }()
	to := func(args ...string) (own, others int) {
		t.Helper()
		for _, f := range inspect[[]report.Flow](w, append([]string{"flows"}, args...)...) {
			switch {
			case f.Original.DestinationPort != 9468:
			case f.Original.Destination.IsLoopback():
				own++
			default:
				others++
			}
		}
		return own, others
	}
	if own, others := to(); own != 0 || others != 1 {
		t.Errorf("by default: %d and %d", own, others)
	}
	for _, args := range [][]string{{"--scrapes"}, {"--dport", "9468"}} {
		if own, others := to(args...); own < 2 || others != 1 {
			t.Errorf("%v: %d and %d", args, own, others)
		}
	}
	text := func(args ...string) string {
		return string(assert.Must(w.command(w.Node, append([]string{"inspect", "flows"}, args...)...).Output())(t))
	}
	const note = " connections to the HTTP endpoint of masqd are not shown; --scrapes shows them\n"
	if out := text(); !strings.HasSuffix(out, note) || !strings.Contains(out, "\nnote: ") || slices.ContainsFunc(strings.Split(out, "\n"), func(l string) bool { return strings.Contains(l, "127.0.0.1:9468") }) {
		t.Errorf("%s", out)
	}
	if out := text("--scrapes"); strings.Contains(out, "note:") || !strings.Contains(out, "127.0.0.1:9468") {
		t.Errorf("%s", out)
	}
	d.end()
}
