package e2e

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/test/assert"
)

// traceFixtures make the faults of doctor's checks of traced packets.
var traceFixtures = []doctorFixture{
	{check: "packet-dropped", args: probeTLS, fault: func(l *doctorLab) {
		l.nodeRun("nft", `table inet filter {
			chain web { tcp dport 443 drop comment "no web"; }
			chain forward { type filter hook forward priority 0; policy accept; iifname != "uplink" jump web; }
		}`)
	}},
	{check: "packet-dropped", args: probeTLS, fault: func(l *doctorLab) {
		l.iptables("-N", "DOCKER-USER")
		l.iptables("-A", "FORWARD", "-j", "DOCKER-USER")
		l.iptables("-A", "DOCKER-USER", "-s", "10.88.0.0/16", "-j", "REJECT")
	}},
	// Answers, before conntrack.
	{check: "packet-dropped", args: probeTLS, fault: func(l *doctorLab) {
		l.nodeRun("nft", `table ip raw { chain prerouting { type filter hook prerouting priority raw; iifname "uplink" tcp sport 443 drop; }; }`)
	}},
	{check: "translated-elsewhere", args: probeTLS, fault: func(l *doctorLab) {
		l.nodeRun("nft", `table ip other { set pods { type ipv4_addr; elements = { `+l.pods[0].addr(l.V4.Server).String()+` }; }
			chain nat { type nat hook postrouting priority 50; ip saddr @pods masquerade; }; }`)
	}},
}

// TestDoctorFirewalld: doctor names the rule of firewalld that rejects, and its remedy works.
func TestDoctorFirewalld(t *testing.T) {
	l := newDoctorLab(t, doctorFixture{args: probeTLS})
	l.firewalld("nftables")
	r, exit := l.doctor(l.args...)
	found := slices.DeleteFunc(r.Findings, func(f doctor.Finding) bool { return f.Check != "packet-dropped" })
	if exit != 1 || len(found) != 1 {
		t.Fatalf("exit code %d: %+v", exit, r)
	}
	f := found[0]
	if !strings.HasPrefix(f.Object, "table inet firewalld, chain filter_") || !strings.HasPrefix(f.Message, "rejects packets of container c0 to 198.51.100.2 port 443 (tcp)") ||
		!slices.ContainsFunc(f.Evidence, func(e doctor.Evidence) bool { return e.Value == "firewalld" }) {
		t.Errorf("%s\n%+v", f, f)
	}
	for _, c := range f.Remedy.Commands {
		l.nodeRun("sh", "-c", c)
	}
	if r, _ := l.doctor(l.args...); slices.ContainsFunc(r.Findings, func(f doctor.Finding) bool { return f.Check == "packet-dropped" }) {
		t.Errorf("after the remedy: %+v", r.Findings)
	}
	assert.NoError(t, l.target.Close())
}

// TestDoctorsAtOnce: several doctors can probe from a node at a time, and leave no table.
func TestDoctorsAtOnce(t *testing.T) {
	l := newDoctorLab(t, doctorFixture{args: probeTLS})
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if r, exit := l.doctor(l.args...); exit != 0 || len(r.Findings) > 0 || len(r.NotChecked) > 0 {
				t.Errorf("exit code %d, findings %+v, not checked %+v", exit, r.Findings, r.NotChecked)
			}
		})
	}
	all.Wait()
	if tables := l.nodeRun("nft", "list", "tables"); strings.TrimSpace(tables) != "table inet masq" {
		t.Errorf("tables %q", tables)
	}
}
