package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	forwardingTotal = `masq_repairs_total{kind="forwarding"}`
	// forwardingBound bounds the time from a change to the first answer after it.
	forwardingBound = time.Second
)

// forwardings returns the node's settings that turn forwarding on or off.
func (w *world) forwardings() map[string]string {
	w.t.Helper()
	out := map[string]string{}
	assert.NoError(w.t, w.Node.Do(func() error {
		for _, pattern := range []string{"ipv4/conf/*/forwarding", "ipv6/conf/*/forwarding", "ipv6/conf/*/force_forwarding"} {
			paths, err := filepath.Glob("/proc/sys/net/" + pattern)
			if err != nil {
				return err
			}
			for _, path := range paths {
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				out[strings.TrimPrefix(path, "/proc/sys/")] = strings.TrimSpace(string(b))
			}
		}
		return nil
	}))
	return out
}

// idleLink adds a link that no default route uses.
func (w *world) idleLink() {
	w.t.Helper()
	w.nodeRun("ip", "link", "add", "idle0", "type", "veth", "peer", "name", "idle1")
	w.nodeRun("ip", "link", "set", "idle0", "up")
}

// turnedOn lists the settings that differ.
func turnedOn(before, after map[string]string) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if after[name] != before[name] {
			out = append(out, fmt.Sprintf("%s=%s", name, after[name]))
		}
	}
	return out
}

// answered reports whether a ping is answered within 100 ms.
func answered(p *pod, server netip.Addr) bool {
	ctx, cancel := context.WithTimeout(p.w.t.Context(), 100*time.Millisecond)
	defer cancel()
	r, err := p.Ping(ctx, server, nstest.PingOptions{})
	return err == nil && r.Reply()
}

// reaches reports whether at least one of several pings is answered.
func reaches(p *pod, server netip.Addr) bool {
	for range 4 {
		if answered(p, server) {
			return true
		}
	}
	return false
}

// set is one way to turn forwarding off: settings that are written one after the other.
type set struct {
	name string
	keys [][2]string
	v4   bool // the affected family
}

func (w *world) turnedOff(p *pod) []set {
	host := p.host()
	return []set{
		{"IPv4 of the uplink", [][2]string{{"net/ipv4/conf/uplink/forwarding", "0"}}, true},
		{"IPv4 of the host's end", [][2]string{{"net/ipv4/conf/" + host + "/forwarding", "0"}}, true},
		// In the kernel's view it is off already, so it is turned on first.
		{"ip_forward", [][2]string{{"net/ipv4/ip_forward", "1"}, {"net/ipv4/ip_forward", "0"}}, true},
		{"IPv6 of the uplink", [][2]string{{"net/ipv6/conf/uplink/force_forwarding", "0"}}, false},
		{"IPv6 of the host's end", [][2]string{{"net/ipv6/conf/" + host + "/force_forwarding", "0"}}, false},
		{"IPv6 of all", [][2]string{{"net/ipv6/conf/all/force_forwarding", "1"}, {"net/ipv6/conf/all/force_forwarding", "0"}}, false},
		{"IPv6, as it was before Linux 6.17", [][2]string{
			{"net/ipv6/conf/all/force_forwarding", "0"},
			{"net/ipv6/conf/all/forwarding", "1"},
			{"net/ipv6/conf/uplink/force_forwarding", "0"},
			{"net/ipv6/conf/all/forwarding", "0"},
		}, false},
	}
}

func (w *world) turnOff(s set) {
	w.t.Helper()
	for _, kv := range s.keys {
		assert.NoError(w.t, w.Node.Sysctl(kv[0], kv[1]))
	}
}

// TestDaemonRepairsForwarding: if another program turns off a setting that containers need
// for their answers, masqd turns it on again. Settings that were off before stay off.
func TestDaemonRepairsForwarding(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.idleLink()
	p := w.attach("a", w.conflist("1.1.0", w.masq()))
	before := w.forwardings()
	servers := map[bool]netip.Addr{true: w.V4.Server, false: w.V6.Server}
	for _, s := range w.turnedOff(p) {
		t.Run(s.name, func(t *testing.T) {
			w := w.in(t)
			d := w.daemon()
			until(t, "both families are answered", func() bool { return answered(p, servers[true]) && answered(p, servers[false]) })
			d.end()
			w.turnOff(s) // control
			if reaches(p, servers[s.v4]) {
				t.Fatal("without masqd there are answers")
			}
			d = w.daemon() // it repairs at its start
			until(t, "there are answers", func() bool { return answered(p, servers[s.v4]) })
			if n := d.metric(forwardingTotal); n == "" || n == "0" {
				t.Errorf("at the start: %q repairs", n)
			}
			if diff := turnedOn(before, w.forwardings()); len(diff) > 0 {
				t.Errorf("after a start there is %v", diff)
			}

			was := d.metric(forwardingTotal)
			begun := time.Now()
			w.turnOff(s)
			until(t, "there are answers again", func() bool { return answered(p, servers[s.v4]) })
			took := time.Since(begun)
			if took > forwardingBound {
				t.Errorf("there were answers after %s", took)
			}
			d.syncs()
			if n := d.metric(forwardingTotal); n == was {
				t.Errorf("%q repairs, before %q", n, was)
			}
			if diff := turnedOn(before, w.forwardings()); len(diff) > 0 {
				t.Errorf("after a repair there is %v", diff)
			}
			for family, server := range servers {
				if !reaches(p, server) {
					t.Errorf("IPv4 is %t: no answer", family)
				}
			}
			t.Logf("answers after %s", took.Round(time.Millisecond))
			d.end()
		})
	}
}

// TestDaemonForwardsANewUplink: when another interface gets the default route, answers
// that arrive there reach the containers. Without masqd they do not.
func TestDaemonForwardsANewUplink(t *testing.T) {
	for _, repaired := range []bool{true, false} {
		t.Run(map[bool]string{true: "masqd", false: "no masqd"}[repaired], func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			w.idleLink()
			p := w.attach("a", w.conflist("1.1.0", w.masq()))
			d := w.daemon()
			if !repaired {
				d.end()
			}
			second := nstest.End{NS: w.Node, Name: "uplink2"}
			far := nstest.End{NS: w.Router, Name: "tonode2"}
			for _, n := range []string{"203.0.113.%d/24", "2001:db8:9::%d/64"} {
				second.Addresses = append(second.Addresses, netip.MustParsePrefix(fmt.Sprintf(n, 2)))
				far.Addresses = append(far.Addresses, netip.MustParsePrefix(fmt.Sprintf(n, 1)))
			}
			assert.NoError(t, nstest.Connect(second, far, 1500))
			for i, plan := range w.Plans() {
				assert.NoError(t, w.Server.Route(second.Addresses[i].Masked(), plan.ServerNet.Addr().Next()))
			}
			if repaired {
				d.syncs() // it has processed the events of the addresses
			}
			before := w.forwardings()
			begun := time.Now()
			for i, family := range []string{"-4", "-6"} {
				w.nodeRun("ip", family, "route", "replace", "default", "via", far.Addresses[i].Addr().String(), "dev", "uplink2")
			}
			for i, plan := range w.Plans() {
				if !repaired {
					if reaches(p, plan.Server) {
						t.Errorf("%s answers although the node does not forward", plan.Server)
					}
					continue
				}
				until(t, "there are answers by the new uplink", func() bool { return answered(p, plan.Server) })
				seen := assert.Must(w.Server.Capture("eth0", isPing))(t)
				if !reaches(p, plan.Server) {
					t.Errorf("%s no longer answers", plan.Server)
				}
				if got := packets(t, seen); len(got) == 0 || got[0].Src != second.Addresses[i].Addr() {
					t.Errorf("%s sees %v, not %s", plan.Server, got, second.Addresses[i].Addr())
				}
			}
			if !repaired {
				if diff := turnedOn(before, w.forwardings()); len(diff) > 0 {
					t.Errorf("these settings changed: %v", diff)
				}
				return
			}
			took := time.Since(begun)
			if took > forwardingBound {
				t.Errorf("there were answers after %s", took)
			}
			want := []string{"net/ipv4/conf/uplink2/forwarding=1", "net/ipv6/conf/uplink2/force_forwarding=1"}
			if diff := turnedOn(before, w.forwardings()); !slices.Equal(diff, want) {
				t.Errorf("it changed %v, want %v", diff, want)
			}
			d.counts(forwardingTotal, "2")
		})
	}
}

// TestDaemonKeepsForwardingOfOthers: masqd does not turn on forwarding of links that
// another plugin made, or of interfaces that no managed container needs.
func TestDaemonKeepsForwardingOfOthers(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attach("a", w.conflist("1.1.0", w.linkByPTP().With(keys{"ipam": keys{
		"type": "host-local", "dataDir": filepath.Join(w.dir, "leases"), "subnet": "10.88.0.0/16", "routes": []any{keys{"dst": "0.0.0.0/0"}},
	}}), w.behind()))
	d := w.daemon()
	if !reaches(p, w.V4.Server) {
		t.Fatal("no answer while ptp's forwarding is on, so the test proves nothing")
	}
	heard := d.metric(`masq_syncs_total{reason="forwarding"}`)
	assert.NoError(t, errors.Join(w.Node.Sysctl("net/ipv4/ip_forward", "0"), w.Node.Sysctl("net/ipv6/conf/all/forwarding", "0")))
	before := w.forwardings()
	until(t, "masqd receives the event", func() bool { return d.metric(`masq_syncs_total{reason="forwarding"}`) != heard })
	d.syncs()
	if diff := turnedOn(before, w.forwardings()); len(diff) > 0 {
		t.Errorf("it changed %v", diff)
	}
	if n := d.metric(forwardingTotal); n != "" && n != "0" {
		t.Errorf("%s repairs", n)
	}
	// The control: a container of masq needs the uplink and its own link.
	own := w.attach("own", w.namedConflist("own", "1.1.0", w.masqOn("10.90.0.0/16")))
	before = w.forwardings()
	assert.NoError(t, errors.Join(w.Node.Sysctl("net/ipv4/conf/uplink/forwarding", "0"), w.Node.Sysctl("net/ipv4/conf/"+own.host()+"/forwarding", "0")))
	until(t, "there are answers", func() bool { return answered(own, w.V4.Server) })
	d.counts(forwardingTotal, "2")
	if diff := turnedOn(before, w.forwardings()); len(diff) > 0 {
		t.Errorf("after a repair there is %v", diff)
	}
}
