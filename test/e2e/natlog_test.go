package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// The NAT log finds a flow that ended, and the container that it belonged to, although the
// container is deleted and another container has its address.
func TestClosedFlowsAreInTheNATLog(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	for _, key := range []string{"net.netfilter.nf_conntrack_timestamp", "net.netfilter.nf_conntrack_acct"} {
		if err := w.Node.Sysctl(key, "1"); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(w.dir, "nat-log")
	d := w.daemon("--nat-log", dir)
	list := w.conflist("1.0.0", w.masq())
	server, err := w.Server.ServeTCP(netip.AddrPortFrom(w.V4.Server, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	who := func(id string) (seen netip.AddrPort, addr netip.Addr) {
		p := w.attach(id, list)
		seen, err := p.Who(soon(t), netip.AddrPort{}, netip.AddrPortFrom(w.V4.Server, 80))
		if err != nil {
			t.Fatal(err)
		}
		addr = p.addr(w.V4.Node)
		if err := p.tryDel(list); err != nil {
			t.Fatal(err)
		}
		return seen, addr
	}
	first, addr := who("first")
	w.nodeRun("conntrack", "-D", "-s", addr.String()) // as if the flow had timed out
	between := time.Now()
	second, _ := who("second")
	for _, x := range []struct {
		seen netip.AddrPort
		id   string
	}{{first, "first"}, {second, "second"}} {
		var a *natlog.Answer
		until(t, "the flow of "+x.id+" is in the log", func() bool {
			var err error
			a, err = natlog.Find(t.Context(), dir, natlog.Query{Addr: x.seen, Proto: 6})
			if err != nil {
				t.Fatal(err)
			}
			return len(a.Flows) == 1
		})
		f := a.Flows[0]
		if f.Owner.ContainerID != x.id || f.Original.Dst != netip.AddrPortFrom(w.V4.Server, 80) || f.Translated.Src != x.seen {
			t.Errorf("%s: %+v", x.id, f)
		}
		if x.id == "first" && (f.End.IsZero() || f.End.After(between.Add(time.Second)) || f.Packets[0] == 0 || f.Begin.IsZero()) {
			t.Errorf("its end is %+v", f)
		}
	}
	// The control: a port that was not used.
	if a, err := natlog.Find(t.Context(), dir, natlog.Query{Addr: netip.AddrPortFrom(first.Addr(), first.Port()^1), Proto: 6}); err != nil || len(a.Flows) != 0 {
		t.Errorf("%+v, %v", a, err)
	}
	if d.metric("masq_nat_log_stopped") != "0" || d.metric("masq_nat_log_lost_total") != "0" {
		t.Error("the log has stopped or lost records")
	}
	d.end()
}

func init() {
	before["docs/natlog.md"] = func(m *docNode) {
		m.installed()
		m.must("install -D -m 644 -t /etc/systemd/system deploy/systemd/masqd.service")
	}
	maps.Copy(proofs, map[string]proof{
		"echo MASQD_NAT_LOG=/var/lib/masq-cni/nat-log >>/etc/default/masqd": runs{},
		"systemctl restart masqd": unit("restart"),
		"sysctl -w net.netfilter.nf_conntrack_timestamp=1 net.netfilter.nf_conntrack_acct=1": runs{},
		"masqd --nat-log /var/lib/masq-cni/nat-log --nat-log-age 2160h --nat-log-size 10Gi":  makes("/var/lib/masq-cni/nat-log/lock"),
	})
}

// makes proves a command that starts a program that keeps running, by a file it makes.
type makes string

func (file makes) prove(m *docNode, c docCommand) error {
	out, err := m.shell(fmt.Sprintf("%s & p=$!; until test -e %s; do kill -0 $p || exit 1; sleep 0.05; done; kill $p; wait $p", c.text, file)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
