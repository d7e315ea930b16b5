package e2e

import (
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestInspectFirewalls: inspect names a chain of another program that drops a container's
// packets, with its hook and priority. The chain is at most a warning: the node stays healthy.
func TestInspectFirewalls(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attachNamed("shop", "web", w.masq())
	w.daemon()
	w.isHealthy()
	named := func(words ...string) report.Node {
		t.Helper()
		n, text, exit := w.health()
		text = strings.Join(strings.Fields(text), " ")
		if exit != 0 || !n.Healthy {
			t.Errorf("exit code %d: %s", exit, n.Verdict)
		}
		for _, s := range words {
			if !strings.Contains(text, s) {
				t.Errorf("%q is missing from\n%s", s, text)
			}
		}
		return n
	}

	// The policy that Docker sets.
	w.nodeRun("iptables-nft", "-P", "FORWARD", "DROP")
	if _, err := p.Ping(briefly(t), w.V4.Server, nstest.PingOptions{}); err == nil {
		t.Error("the chain does not drop")
	}
	n := named("table ip filter, chain FORWARD", "hook forward, priority 0, policy drop, owner a program that uses iptables")
	if f := sole(t, n.Firewalls); f.Table != "filter" || f.Chain != "FORWARD" || f.Policy != "drop" || f.Priority != 0 || n.Problems[0].Kind != report.KindFirewall || n.Problems[0].Severity != report.SeverityWarning {
		t.Errorf("%+v, %+v", f, n.Problems)
	}
	w.nodeRun("iptables-nft", "-P", "FORWARD", "ACCEPT")
	_, err := p.Ping(soon(t), w.V4.Server, nstest.PingOptions{})
	assert.NoError(t, err)
	w.isHealthy()

	// Chains as firewalld makes them: the policy accepts, and the last rule rejects packets that
	// no zone accepts.
	w.nft(`add table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; policy accept; ct state established,related accept; jump zones; reject with icmpx type admin-prohibited; }
		chain zones { ip saddr 10.88.0.0/16 accept; ip6 saddr fd00:88::/64 accept; }; }`)
	if n := named("table inet firewalld, chain filter_FORWARD", "priority 10, policy accept, 1 rule to drop, owner firewalld"); len(n.Problems) != 0 {
		t.Errorf("%+v", n.Problems)
	}
	_, err = p.Ping(soon(t), w.V4.Server, nstest.PingOptions{})
	assert.NoError(t, err)
	w.nft("flush chain inet firewalld zones")
	n, _, exit := w.health()
	if f := sole(t, n.Problems); exit != 1 || f.Kind != "connections-dropped" || f.Object != "table inet firewalld, chain filter_FORWARD" || !strings.HasPrefix(f.Message, "rejects new TCP connections of shop/web: ") {
		t.Errorf("exit code %d, %+v", exit, f)
	}
	w.nft("delete table inet firewalld")

	// Rules of legacy iptables are not part of nf_tables.
	if n := named(); len(n.Firewalls) != 0 || strings.Contains(strings.Join(n.Notes, "\n"), "legacy") {
		t.Errorf("%+v, %q", n.Firewalls, n.Notes)
	}
	if out, err := w.Node.Command(soon(t), "iptables-legacy", "-P", "FORWARD", "DROP").CombinedOutput(); err != nil {
		t.Skipf("this kernel has no legacy iptables: %s", out)
	}
	named("not checked: table filter of legacy iptables", "iptables-legacy -S FORWARD")
}
