package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// tableFixtures make the faults of doctor's checks of other tables.
var tableFixtures = []doctorFixture{
	// As podman and a CNI plugin with ipMasq masquerade.
	{check: "masqueraded-twice", fault: func(l *doctorLab) {
		l.nodeRun("nft", `table inet netavark {
			chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; ip saddr 10.88.0.0/16 jump nv_1; }
			chain nv_1 { ip daddr 10.88.0.0/16 accept; ip daddr != 224.0.0.0/4 masquerade; }
		}`)
	}},
	{check: "masqueraded-twice", fault: func(l *doctorLab) {
		for i, p := range l.pods {
			chain := fmt.Sprint("CNI-", i)
			l.iptables("-t", "nat", "-N", chain)
			l.iptables("-t", "nat", "-A", "POSTROUTING", "-s", p.addr(l.V4.Server).String(), "-j", chain)
			l.iptables("-t", "nat", "-A", chain, "!", "-d", "224.0.0.0/4", "-j", "MASQUERADE")
		}
	}},
	// A table that translates first.
	{check: "masqueraded-twice", fault: func(l *doctorLab) {
		l.nodeRun("nft", `table ip early { chain nat { type nat hook postrouting priority 50; oifname "uplink" masquerade; }; }`)
	}},
	{check: "connections-dropped", fault: func(l *doctorLab) {
		l.nodeRun("nft", `table inet guard { chain forward { type filter hook forward priority 0; policy accept; ip saddr 10.88.0.0/16 drop; }; }`)
	}},
	{check: "connections-dropped", fault: func(l *doctorLab) {
		for _, p := range l.pods {
			l.iptables("-A", "FORWARD", "-d", p.addr(l.V4.Server).String(), "-j", "REJECT")
		}
	}},
	// The rule drops ICMP too, and is named once.
	{check: "connections-dropped", fault: func(l *doctorLab) { l.iptables("-A", "FORWARD", "-j", "REJECT") }},
	{check: "icmp-dropped", fault: func(l *doctorLab) {
		l.nodeRun("nft", `table inet filter { chain forward { type filter hook forward priority 0; policy accept; meta l4proto icmp drop; }; }`)
	}},
	{check: "icmp-dropped", fault: func(l *doctorLab) { l.iptables("-A", "OUTPUT", "-p", "icmp", "--icmp-type", "3/4", "-j", "DROP") }},
}

// iptables runs iptables-nft in the node.
func (l *doctorLab) iptables(args ...string) {
	l.t.Helper()
	l.nodeRun("iptables-nft", args...)
}

// TestDoctorOtherTables: tables as Docker, kube-proxy, firewalld and Calico make them yield no
// finding on a node whose containers they do not affect.
func TestDoctorOtherTables(t *testing.T) {
	l := newDoctorLab(t, doctorFixture{})
	l.nodeRun("nft", `table inet firewalld {
		chain filter_INPUT { type filter hook input priority filter + 10; policy accept; ct state { established, related } accept; ct status dnat accept; iifname "lo" accept; ct state invalid drop; jump zones; reject with icmpx admin-prohibited; }
		chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; ct state { established, related } accept; ct state invalid drop; iifname "docker0" reject with icmpx admin-prohibited; }
		chain zones { tcp dport 22 accept; meta l4proto { icmp, ipv6-icmp } accept; }
		chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; jump nat_zones; }
		chain nat_zones { oifname "uplink" meta mark 7 masquerade; oifname "uplink" masquerade; }
	}
	table ip kube-proxy {
		chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
		chain masquerading { meta mark & 0x4000 == 0 return; meta mark set meta mark ^ 0x4000; masquerade fully-random; }
		map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
		chain filter-forward { type filter hook forward priority -110; ct state new jump service-endpoints-check; ct state new jump cluster-ips-check; }
		chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
		chain cluster-ips-check { ip daddr 10.96.0.0/16 reject; }
	}`)
	for line := range strings.Lines(`-t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
		-t nat -N KUBE-POSTROUTING
		-t nat -A POSTROUTING -j KUBE-POSTROUTING
		-t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
		-t nat -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
		-t nat -A KUBE-POSTROUTING -j MASQUERADE --random-fully
		-N DOCKER-USER
		-A FORWARD -j DOCKER-USER
		-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		-A FORWARD -o docker0 -j DROP
		-A FORWARD ! -i docker0 -o docker0 -j DROP
		-t raw -A PREROUTING -d 172.17.0.2 ! -i docker0 -j DROP
		-N KUBE-FORWARD
		-N KUBE-FIREWALL
		-A FORWARD -j KUBE-FORWARD
		-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
		-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
		-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		-A INPUT -j KUBE-FIREWALL
		-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
		-t mangle -N cali-FORWARD
		-t mangle -N cali-from-wl-dispatch
		-t mangle -A FORWARD -j cali-FORWARD
		-t mangle -A cali-FORWARD -i cali+ -j cali-from-wl-dispatch
		-t mangle -A cali-from-wl-dispatch -j DROP
		-A INPUT -m conntrack --ctstate INVALID -j DROP`) {
		l.iptables(strings.Fields(line)...)
	}
	if r, exit := l.doctor(); exit != 0 || len(r.Findings) > 0 || len(r.NotChecked) > 0 {
		t.Errorf("exit code %d, findings %+v, not checked %+v", exit, r.Findings, r.NotChecked)
	}
}
