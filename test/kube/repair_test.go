package kube

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// traffic is a stream to outside, with the packets that outside receives.
type traffic struct {
	*stream
	node, own netip.Addr
	srv       *nstest.UDPServer
}

// traffic begins streams of pods to outside, in each family.
func (c *cluster) traffic(t *testing.T, pods []*pod, verb string, interval time.Duration) (all []traffic) {
	t.Helper()
	for i, dst := range outsideAddrs {
		for _, p := range pods {
			srv := assert.Must(c.outside.ServeUDP(at(dst, 0)))(t)
			t.Cleanup(func() { assert.NoError(t, srv.Close()) })
			all = append(all, traffic{p.stream(t, verb, srv.Addr(), interval), p.node.addrs[i], p.addr(t, dst), srv})
		}
	}
	return all
}

// escaped counts the datagrams that arrived with the pod's own address.
func (s traffic) escaped() (n int) {
	for _, d := range s.srv.Seen() {
		if d.Source.Addr() == s.own {
			n++
		}
	}
	return n
}

// rolled restarts masqd on both nodes while pods send packets: none is lost, and none leaves
// with the pod's own address.
func (c *cluster) rolled(t *testing.T, pods []*pod) {
	all := append(c.traffic(t, pods, "stream", 2*time.Millisecond), c.traffic(t, pods, "flows", 20*time.Millisecond)...)
	before := c.daemons(t)
	c.do(t, "rollout", "restart", "--namespace=kube-system", "daemonset/masq-cni")
	c.installed(t)
	// A pod that has ended is listed until its kubelet reports that.
	for _, name := range before {
		c.do(t, "wait", "--namespace=kube-system", "--for=delete", "pod/"+name, "--timeout=60s")
	}
	c.daemons(t)
	for _, s := range all {
		sent, lost := s.stop(t)
		t.Logf("%s: %d datagrams, %d lost", s.from, sent, lost)
		if lost != 0 || sent < 50 || s.escaped() != 0 {
			t.Errorf("%s: of %d datagrams %d were lost, %d left with the pod's address", s.from, sent, lost, s.escaped())
		}
	}
}

// daemons returns the names of the DaemonSet's pods.
func (c *cluster) daemons(t testing.TB) []string {
	t.Helper()
	names := strings.Fields(c.get(t, ".items[*].metadata.name", "pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=masq-cni"))
	if len(names) != len(c.nodes) {
		t.Fatalf("the pods on %d nodes are %q", len(c.nodes), names)
	}
	return names
}

// flushed has another program flush all rules of a node, while pods begin new flows. In the
// control, while masqd is stopped, these flows leave with the pod's own address.
func (c *cluster) flushed(t *testing.T, p *pod) {
	n := p.node
	want := n.table(t)
	all := c.traffic(t, []*pod{p}, "flows", 5*time.Millisecond)
	repaired := func() {
		t.Helper()
		until(t, patience, "the table of "+n.name+" is restored", func() error {
			if got := n.table(t); got != want {
				return fmt.Errorf("it is\n%s\nand was\n%s", got, want)
			}
			return nil
		})
	}
	n.output(t, "nft", "flush", "ruleset")
	repaired()
	for _, s := range all {
		t.Logf("%s: %d flows left with the pod's address until the repair, one each 5 ms", p.name, s.escaped())
	}

	n.suspend(t)
	n.output(t, "nft", "flush", "ruleset")
	for _, s := range all {
		before := s.escaped()
		until(t, patience, "flows leave with the pod's address (control)", func() error {
			if s.escaped() <= before+20 {
				return fmt.Errorf("%d of %d, %d before", s.escaped(), len(s.srv.Seen()), before)
			}
			return nil
		})
	}
	n.resume(t)
	repaired()
	for _, s := range all {
		before := s.escaped()
		seen := len(s.srv.Seen())
		assert.Must(s.srv.WaitSeen(soon(t), seen+50))(t)
		if after := s.escaped(); after != before {
			t.Errorf("%s: after the repair %d flows left with the pod's address", p.name, after-before)
		}
		s.stop(t)
	}
}

var (
	counted = regexp.MustCompile(`counter packets \d+ bytes \d+`)
	// ofServices are the elements of set reserved, and the rules that exclude these ports.
	ofServices = regexp.MustCompile(`^\d+(-\d+)?$|comment "policy/ports-`)
)

// table returns nft's listing of the managed table, without counters and in a canonical order.
// Rules and elements for NodePorts are left out: after a flush, kube-proxy may restore its
// rules only within the hour, and without them the node has no NodePorts.
func (n *node) table(t testing.TB) string {
	t.Helper()
	out, err := n.command(soon(t), "nft", "list", "table", "inet", "masq").Output()
	if err != nil {
		return err.Error()
	}
	parts := strings.FieldsFunc(counted.ReplaceAllString(string(out), "counter"), func(r rune) bool { return strings.ContainsRune(",\n{}", r) })
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	parts = slices.DeleteFunc(parts, ofServices.MatchString)
	slices.Sort(parts)
	return strings.Join(parts, "\n")
}
