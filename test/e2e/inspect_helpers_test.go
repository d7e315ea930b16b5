package e2e

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestInspectHelpersOfMasqd: a connection that masqd begins for a container is the container's in
// who and in all listings, also if masqd's own address is the egress address.
func TestInspectHelpersOfMasqd(t *testing.T) {
	const port = 8554
	w := newWorld(t, nstest.Uplink{})
	w.daemon()
	web := w.attachNamed("shop", "web", w.masq().With(keys{"helpers": keys{"rtsp": []uint16{port}, "talk": []uint16{}}}))
	w.redirects(web, "tcp", port)
	ask := func(v any, args ...string) {
		t.Helper()
		out, _ := w.command(w.Node, append([]string{"inspect"}, append(args, "-o", "json")...)...).Output() // the exit code depends on problems
		if err := json.Unmarshal(out, v); err != nil {
			t.Fatalf("inspect %v: %v\n%s", args, err, out)
		}
	}
	for i, plan := range w.Plans() {
		server := assert.Must(w.Server.ServeTCP(at(plan.Server, port)))(t)
		c := assert.Must(web.Dial(soon(t), "tcp", netip.AddrPort{}, server.Addr()))(t)
		defer c.Close()
		until(t, "masqd is connected", func() bool { return len(server.Sources()) > 0 })
		seen := server.Sources()[0]
		for _, q := range questions(seen, "tcp", plan.Server, "8554") {
			flows, _ := w.who(q...)
			if f := sole(t, flows); f.Owner != web.owner() || f.Helper != report.HelperOfMasqd || source(f.Translated) != seen || destination(f.Original) != server.Addr() {
				t.Errorf("%v is %+v", q, f)
			}
		}
		text, exit := w.whoText(seen.String() + "/tcp")
		if exit != 0 || !strings.Contains(text, "shop/web") || !strings.Contains(text, "note: masqd began the flow for the container") || strings.Count(text, "note:") != 1 {
			t.Errorf("exit code %d:\n%s", exit, text)
		}

		var helpers report.Helpers
		ask(&helpers, "helpers")
		var control int
		for _, f := range helpers.Control {
			if f.Owner == web.owner() && f.Helper == report.HelperOfMasqd {
				control++
			}
		}
		var flows []report.Flow
		ask(&flows, "flows", "--pod", "shop/web", "--dst", plan.Server.String())
		if n := len(flows); n != 2 || flows[0].Owner != web.owner() || flows[1].Owner != web.owner() || (flows[0].Helper == "") == (flows[1].Helper == "") {
			t.Errorf("the flows of the pod are %+v", flows)
		}
		var pods []report.Pod
		ask(&pods, "pod", "shop/web")
		var node report.Node
		ask(&node)
		if n := i + 1; control != n || pods[0].DaemonHelpers.Connections != n || node.DaemonHelpers.Connections != n {
			t.Errorf("%d, %d and %d connections are listed, want %d", control, pods[0].DaemonHelpers.Connections, node.DaemonHelpers.Connections, n)
		}
	}
	out := assert.Must(w.command(w.Node, "inspect", "pod", "shop/web").Output())(t)
	if want := "rtsp 8554, talk 517 518 (by masqd: 2 connections, 0 ports open)"; !strings.Contains(string(out), want) {
		t.Errorf("no %q in\n%s", want, out)
	}
	var rules []report.Rule
	ask(&rules, "rules")
	n := 0
	for _, r := range rules {
		if r.State != report.OK {
			t.Errorf("%+v", r)
		}
		if r.Table == "masq-helpers" {
			n++
		}
	}
	if n == 0 {
		t.Error("the rules of masqd's table are not listed")
	}
}
