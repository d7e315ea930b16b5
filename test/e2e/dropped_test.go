package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// spoofs sends a packet whose source is not an address of the pod.
func (p *pod) spoofs(plan nstest.Plan) {
	p.w.t.Helper()
	src := netip.MustParseAddr(map[bool]string{true: "203.0.113.7", false: "2001:db8:7::7"}[plan.Server.Is4()])
	assert.NoError(p.w.t, p.SendRaw(nstest.UDPPacket(at(src, 700), at(plan.Server, 9), []byte("spoofed"))))
}

// sendsInvalid sends a segment that no connection can have.
func (p *pod) sendsInvalid(to netip.Addr) {
	p.w.t.Helper()
	assert.NoError(p.w.t, p.SendRaw(nstest.TCPPacket(nstest.Segment{
		Src: at(p.addr(to), 5555), Dst: at(to, 9), Flags: nstest.SYN | nstest.RST, Seq: 1,
	})))
}

// TestDroppedIsShown: the metrics and inspect count packets that the rules drop, by
// reason. inspect pod counts the packets of the pod. The metrics do not fall when the
// rules are made again.
func TestDroppedIsShown(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.0.0", w.masq())
	a, b := w.attach("a", list), w.attach("b", list)
	ipam := w.masqOn("10.92.0.0/24")["ipam"].(keys).With(keys{"routes": []any{keys{"dst": "0.0.0.0/0"}}})
	chained := w.attach("chained", w.namedConflist("chained", "1.0.0", keys{"type": "ptp", "ipMasq": false, "ipam": ipam}, w.behind()))
	bare := w.attach("bare", w.namedConflist("bare", "1.0.0", w.masqOn("10.91.0.0/24").With(keys{"spoofCheck": false, "dropInvalid": false})))
	d := w.daemon()
	until(t, "masqd knows four attachments", func() bool { return d.metric("masq_attachments") == "4" })
	want := func(when string, spoofed, invalid, noEgress int) {
		t.Helper()
		for reason, n := range map[string]int{"spoofed": spoofed, "invalid": invalid, "no-egress-address": noEgress} {
			metric := fmt.Sprintf("masq_dropped_packets_total{reason=%q}", reason)
			until(t, fmt.Sprintf("%s: %s is %d", when, metric, n), func() bool { return d.metric(metric) == fmt.Sprint(n) })
		}
	}
	wantPod := func(p *pod, text string) {
		t.Helper()
		pods := inspect[[]report.Pod](w, "pod", p.runtime.ContainerID)
		if len(pods) != 1 || pods[0].Dropped.String() != text {
			t.Errorf("inspect pod %s: %+v, want %q", p.runtime.ContainerID, pods, text)
		}
		if out := string(assert.Must(w.command(w.Node, "inspect", "pod", p.runtime.ContainerID).Output())(t)); !strings.Contains(out, text) {
			t.Errorf("inspect pod %s does not say %q:\n%s", p.runtime.ContainerID, text, out)
		}
	}
	want("at first", 0, 0, 0)

	for _, plan := range w.Plans() {
		a.spoofs(plan)
		a.spoofs(plan)
		b.spoofs(plan)
		b.sendsInvalid(plan.Server)
	}
	chained.sendsInvalid(w.V4.Server)
	want("after packets", 6, 3, 0)
	if got := inspect[report.Node](w).Dropped; got == nil || *got != (report.Dropped{Spoofed: 6, Invalid: 3}) {
		t.Errorf("inspect: %+v", got)
	}
	wantPod(a, "4 spoofed, 0 invalid")
	wantPod(b, "2 spoofed, 2 invalid")
	wantPod(chained, "sources are not checked, 1 invalid")
	wantPod(bare, "sources are not checked, invalid packets are not dropped")

	w.nft("delete table inet masq")
	until(t, "the rules are restored", func() bool { return a.tryCheck(list) == nil })
	a.spoofs(w.V4)
	want("after a repair", 7, 3, 0)
	wantPod(a, "1 spoofed, 0 invalid")
	if got := inspect[report.Node](w).Dropped; got == nil || got.Spoofed != 1 {
		t.Errorf("inspect: %+v", got)
	}
}

// TestInvalidOfSources: packets from source addresses of another plugin that conntrack
// calls invalid are dropped, unless their destination is direct.
func TestInvalidOfSources(t *testing.T) {
	s := newSourced(t)
	s.daemon("--config", s.config(podSources))
	s.translated()
	for i, p := range s.Plans() {
		rule := []string{"invalid/cidr4", "invalid/cidr6"}[i]
		private := assert.Must(s.Router.Capture("tonode", func(q nstest.Packet) bool { return q.Src == s.pod.addr(p.Server) && !neighbours(q) }))(t)
		s.pod.sendsInvalid(p.Server)
		s.pod.sendsInvalid(s.direct[i])
		assert.Must(private.WaitFor(soon(t), func(q nstest.Packet) bool { return q.Dst == s.direct[i] }))(t)
		until(t, rule+" has counted one packet", func() bool { return s.counted(rule) == 1 })
		if all := packets(t, private); len(all) != 1 {
			t.Errorf("left with the pod's own address: %v", all)
		}
	}
}
