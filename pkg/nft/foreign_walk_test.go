package nft

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// iptables runs iptables-nft in the test's namespace with each line as arguments.
func iptables(t *testing.T, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
}

// TestOtherSourceNAT finds rules that certainly translate containers, and none that need a
// mark, a set, or a condition that is not understood.
func TestOtherSourceNAT(t *testing.T) {
	containers := []netip.Addr{netip.MustParseAddr("10.88.0.5"), netip.MustParseAddr("10.88.0.6"), netip.MustParseAddr("10.89.1.5"), netip.MustParseAddr("fd00:88::5")}
	for name, x := range map[string]struct {
		nft, iptables string
		want          []string // family, table, chain, priority, action, sources
	}{
		"nothing": {},
		"podman": {
			nft: `table inet netavark {
				chain POSTROUTING { type nat hook postrouting priority 100; ip saddr 10.88.0.0/16 jump nv_1; ip saddr 10.77.0.0/16 jump nv_2; }
				chain nv_1 { ip daddr 10.88.0.0/16 accept; ip daddr != 224.0.0.0/4 masquerade; }
				chain nv_2 { masquerade; }
			}`,
			want: []string{"inet netavark nv_1 100 masquerade [10.88.0.5 10.88.0.6] true"},
		},
		"CNI plugin": {
			iptables: `iptables-nft -t nat -N CNI-aa
				iptables-nft -t nat -N CNI-bb
				iptables-nft -t nat -A POSTROUTING -s 10.88.0.6 -m comment --comment name:x -j CNI-aa
				iptables-nft -t nat -A POSTROUTING -s 10.88.0.99 -j CNI-bb
				iptables-nft -t nat -A CNI-aa -d 10.88.0.0/16 -j ACCEPT
				iptables-nft -t nat -A CNI-aa ! -d 224.0.0.0/4 -j MASQUERADE
				iptables-nft -t nat -A CNI-bb -j MASQUERADE`,
			want: []string{"ip nat CNI-aa 100 masquerade [10.88.0.6] true"},
		},
		"flannel": {
			iptables: `iptables-nft -t nat -N FLANNEL-POSTRTG
				iptables-nft -t nat -A POSTROUTING -j FLANNEL-POSTRTG
				iptables-nft -t nat -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN
				iptables-nft -t nat -A FLANNEL-POSTRTG -s 10.89.0.0/16 -d 10.89.0.0/16 -j RETURN
				iptables-nft -t nat -A FLANNEL-POSTRTG -s 10.89.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully`,
			// The mark is set by another program, so the rule before may apply.
		},
		"SNAT by the uplink": {
			nft:  `table ip6 x { chain c { type nat hook postrouting priority 50; oifname "uplink" snat to 2001:db8::1; }; }`,
			want: []string{"ip6 x c 50 snat [fd00:88::5] false"},
		},
		"both families": {
			nft:  `table inet x { chain c { type nat hook postrouting priority 50; oifname != "docker0" masquerade; }; }`,
			want: []string{"inet x c 50 masquerade [10.88.0.5 10.88.0.6 10.89.1.5 fd00:88::5] false"},
		},
		"addrtype": {
			iptables: `iptables-nft -t nat -N IP-MASQ
				iptables-nft -t nat -A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ
				iptables-nft -t nat -A IP-MASQ -d 10.0.0.0/8 -j RETURN
				iptables-nft -t nat -A IP-MASQ -j MASQUERADE`,
			want: []string{"ip nat IP-MASQ 100 masquerade [10.88.0.5 10.88.0.6 10.89.1.5] false"},
		},
		"an address accepted before": {
			nft:  `table ip x { chain c { type nat hook postrouting priority 0; ip saddr 10.88.0.5 accept; ip saddr != 10.88.0.0/24 return; masquerade; }; }`,
			want: []string{"ip x c 0 masquerade [10.88.0.6] false"},
		},
		"Docker": {
			iptables: `iptables-nft -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
				iptables-nft -t nat -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE`,
		},
		"libvirt": {
			iptables: `iptables-nft -t nat -N LIBVIRT_PRT
				iptables-nft -t nat -A POSTROUTING -j LIBVIRT_PRT
				iptables-nft -t nat -A LIBVIRT_PRT -s 192.168.122.0/24 -d 224.0.0.0/24 -j RETURN
				iptables-nft -t nat -A LIBVIRT_PRT -s 192.168.122.0/24 ! -d 192.168.122.0/24 -p tcp -j MASQUERADE --to-ports 1024-65535
				iptables-nft -t nat -A LIBVIRT_PRT -s 192.168.122.0/24 ! -d 192.168.122.0/24 -j MASQUERADE`,
		},
		"kube-proxy with iptables": {
			iptables: `iptables-nft -t nat -N KUBE-POSTROUTING
				iptables-nft -t nat -A POSTROUTING -m comment --comment k8s -j KUBE-POSTROUTING
				iptables-nft -t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
				iptables-nft -t nat -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
				iptables-nft -t nat -A KUBE-POSTROUTING -j MASQUERADE --random-fully`,
		},
		"kube-proxy with nftables": {
			nft: `table ip kube-proxy {
				chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }
				chain masquerading { meta mark & 0x4000 == 0 return; meta mark set meta mark ^ 0x4000; masquerade fully-random; }
			}`,
		},
		"a set": {
			nft: `table ip x { set pods { type ipv4_addr; }; chain c { type nat hook postrouting priority 50; ip saddr @pods masquerade; ip daddr @pods masquerade; ip saddr vmap { 10.88.0.5 : accept }; masquerade; }; }`,
		},
		"set of destinations": {
			nft:  `table ip x { set inside { type ipv4_addr; flags interval; }; chain c { type nat hook postrouting priority 50; ip daddr @inside return; fib daddr type local return; ip saddr 10.88.0.0/16 ip daddr != @inside masquerade; }; }`,
			want: []string{"ip x c 50 masquerade [10.88.0.5 10.88.0.6] true"},
		},
		"a port": {
			nft: `table ip x { chain c { type nat hook postrouting priority 50; tcp dport 80 masquerade; meta mark 7 masquerade; udp dport 53 masquerade; limit rate 1/second masquerade; }; }`,
		},
		"ours": {
			nft: `table inet masq { chain postrouting { type nat hook postrouting priority 99; masquerade; }; }`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := kernel(t)
			nftables(t, x.nft, "-f", "-")
			iptables(t, x.iptables)
			found, err := c.OtherSourceNAT(containers, []string{"uplink"})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range found {
				got = append(got, fmt.Sprint(r.Family, " ", r.Table, " ", r.Chain, " ", r.Priority, " ", r.Action, " ", r.Sources, " ", r.BySource))
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("%q, not %q\n%s", got, x.want, nftables(t, "", "list", "ruleset"))
			}
		})
	}
}

// TestOtherICMPDrops finds rules that certainly drop the ICMP messages of path MTU discovery.
func TestOtherICMPDrops(t *testing.T) {
	for name, x := range map[string]struct {
		nft, iptables string
		want          []string // family, table, chain, hook, action, IPv4, IPv6
	}{
		"nothing": {},
		"all ICMP": {
			nft: `table inet x { chain f { type filter hook forward priority 0; meta l4proto { tcp, udp } accept; meta l4proto icmp drop; meta l4proto ipv6-icmp reject; }; }`,
			// The first rule looks a protocol up in a set: it may accept ICMP too.
		},
		"ICMP": {
			nft:  `table inet x { chain f { type filter hook forward priority 0; tcp dport 22 accept; meta l4proto icmp drop; meta l4proto ipv6-icmp reject; }; }`,
			want: []string{"inet x f forward drop true false", "inet x f forward reject false true"},
		},
		"type and code": {
			nft:  `table ip x { chain f { type filter hook prerouting priority -300; icmp type echo-request drop; icmp type destination-unreachable icmp code host-unreachable drop; icmp type destination-unreachable icmp code frag-needed counter drop; }; }`,
			want: []string{"ip x f prerouting drop true false"},
		},
		"packet too big": {
			nft:  `table ip6 x { chain o { type filter hook output priority 0; jump more; }; chain more { icmpv6 type packet-too-big drop; }; }`,
			want: []string{"ip6 x more output drop false true"},
		},
		"iptables": {
			iptables: `iptables-nft -A FORWARD -p icmp --icmp-type 8 -j ACCEPT
				iptables-nft -A FORWARD -p icmp --icmp-type 3/4 -j DROP
				iptables-nft -A INPUT -i uplink -p icmp -j REJECT
				iptables-nft -A INPUT -i other -p icmp -j DROP
				ip6tables-nft -A OUTPUT -p icmpv6 --icmpv6-type 2 -j DROP`,
			want: []string{"ip filter FORWARD forward drop true false", "ip filter INPUT input reject true false", "ip6 filter OUTPUT output drop false true"},
		},
		"related accepted before": {
			nft: `table inet x {
				chain f { type filter hook forward priority 0; ct state established,related accept; meta l4proto icmp drop; }
				chain i { type filter hook input priority 0; ct state vmap { established : accept, related : accept }; meta l4proto icmp drop; }
				chain o { type filter hook output priority 0; ct state related accept; drop; }
			}`,
			iptables: `iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
				iptables-nft -A FORWARD -p icmp -j DROP`,
		},
		"not certain": {
			nft: `table inet x { chain f { type filter hook forward priority 0; ip saddr 192.0.2.0/24 drop; limit rate over 10/second drop; ip daddr 192.0.2.1 meta l4proto icmp drop; ct state invalid drop; ct state new drop; iifname "veth1" drop; meta l4proto tcp drop; }; }`,
		},
		"every packet": {
			nft:  `table ip x { chain f { type filter hook forward priority 0; iifname "up*" drop; }; }`,
			want: []string{"ip x f forward drop true false"},
		},
		"ours": {
			nft: `table inet masq { chain forward { type filter hook forward priority -150; meta l4proto icmp drop; }; }`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := kernel(t)
			nftables(t, x.nft, "-f", "-")
			iptables(t, x.iptables)
			found, err := c.OtherICMPDrops([]string{"uplink"})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range found {
				got = append(got, fmt.Sprint(r.Family, " ", r.Table, " ", r.Chain, " ", r.Hook, " ", r.Action, " ", r.IPv4, " ", r.IPv6))
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("%q, not %q\n%s", got, x.want, nftables(t, "", "list", "ruleset"))
			}
		})
	}
}

// TestOtherConnectionDrops finds rules that certainly drop connections of containers or the
// answers to them, and none that concern other packets or that another rule may precede.
func TestOtherConnectionDrops(t *testing.T) {
	containers := []netip.Addr{netip.MustParseAddr("10.88.0.5"), netip.MustParseAddr("10.88.0.6"), netip.MustParseAddr("fd00:88::5")}
	for name, x := range map[string]struct {
		nft, iptables string
		want          []string // family, table, chain, hook, action, sources, answers
	}{
		"nothing": {},
		"by source": {
			nft:  `table inet x { chain f { type filter hook forward priority 0; ip saddr 10.88.0.6 drop; ip6 saddr fd00:88::/64 reject; }; }`,
			want: []string{"inet x f forward drop [10.88.0.6] false", "inet x f forward reject [fd00:88::5] false"},
		},
		"answers": {
			nft:  `table ip x { chain f { type filter hook forward priority 0; ct state new accept; ip daddr 10.88.0.0/16 drop; }; }`,
			want: []string{"ip x f forward drop [10.88.0.5 10.88.0.6] true"},
		},
		"every packet": {
			nft:  `table ip x { chain f { type filter hook forward priority 0; tcp dport 22 counter; oifname "uplink" drop; }; }`,
			want: []string{"ip x f forward drop [10.88.0.5 10.88.0.6] false"},
		},
		"every packet, also answers": {
			nft:  `table ip x { chain p { type filter hook prerouting priority -150; jump every; }; chain f { type filter hook forward priority 0; jump every; }; chain every { drop; }; }`,
			want: []string{"ip x every forward drop [10.88.0.5 10.88.0.6] false"},
		},
		"iptables": {
			iptables: `iptables-nft -N BLOCK
				iptables-nft -A FORWARD -s 10.88.0.5 -j BLOCK
				iptables-nft -A BLOCK -o docker0 -j RETURN
				iptables-nft -A BLOCK -j DROP`,
			want: []string{"ip filter BLOCK forward drop [10.88.0.5] false"},
		},
		"other containers accepted before": {
			iptables: `iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
				iptables-nft -A FORWARD -s 10.88.0.6 -j ACCEPT
				iptables-nft -A FORWARD -j REJECT`,
			want: []string{"ip filter FORWARD forward reject [10.88.0.5] false"},
		},
		"accepted before": {
			nft: `table inet x { chain f { type filter hook forward priority 0; ct state established,related accept; ip saddr 10.88.0.0/16 accept; ip6 saddr fd00::/8 accept; drop; }; }`,
			iptables: `iptables-nft -A FORWARD -s 10.88.0.0/16 -j ACCEPT
				iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
				iptables-nft -A FORWARD -j DROP`,
		},
		"some connections": {
			nft: `table ip x { chain f { type filter hook forward priority 0; tcp dport 25 drop; ip daddr 192.0.2.0/24 drop; ip daddr != 10.0.0.0/8 drop; ip saddr 10.88.0.5 udp dport 53 drop; limit rate over 10/second drop; ip saddr 10.88.0.0/16 tcp dport 443 accept; drop; }; }`,
		},
		"a set": {
			nft: `table ip x { set allowed { type ipv4_addr; }; chain f { type filter hook forward priority 0; ip saddr != @allowed drop; ip saddr @allowed accept; drop; }; }`,
		},
		"destinations accepted before": {
			nft: `table ip x { chain f { type filter hook forward priority 0; ct state established accept; ip daddr 192.0.2.0/24 accept; drop; }; }
				table ip y { chain f { type filter hook forward priority 0; ct state established accept; fib daddr type unicast accept; drop; }; }`,
			iptables: `iptables-nft -N BLOCK
				iptables-nft -A FORWARD -s 10.88.0.5 -j BLOCK
				iptables-nft -A BLOCK -d 10.0.0.0/8 -j RETURN
				iptables-nft -A BLOCK -j DROP`,
		},
		// The chains of kube-router and of kube-proxy: a rule that is not decoded sets the mark.
		"marks": {
			nft: `table ip x { chain f { type filter hook forward priority 0; ip saddr 10.88.0.0/16 meta mark 1 drop; ip saddr 10.88.0.0/16 meta mark != 1 drop; ip saddr 10.88.0.0/16 meta mark 0 drop; }; }`,
			iptables: `iptables-nft -N KUBE-FORWARD
				iptables-nft -N KUBE-POD-FW-A
				iptables-nft -A FORWARD -s 10.88.0.5 -j KUBE-POD-FW-A
				iptables-nft -A KUBE-POD-FW-A -m mark ! --mark 0x10000/0x10000 -j REJECT
				iptables-nft -A KUBE-POD-FW-A -j MARK --set-xmark 0x20000/0x20000
				iptables-nft -A FORWARD -m mark --mark 0x20000/0x20000 -j ACCEPT
				iptables-nft -A FORWARD -j KUBE-FORWARD
				iptables-nft -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
				iptables-nft -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
				iptables-nft -A FORWARD -j DROP`,
		},
		// The dispatch by interface of Calico.
		"interfaces": {
			iptables: `iptables-nft -N cali-FORWARD
				iptables-nft -N cali-from-wl-dispatch
				iptables-nft -N cali-to-wl-dispatch
				iptables-nft -A FORWARD -j cali-FORWARD
				iptables-nft -A cali-FORWARD -i cali+ -j cali-from-wl-dispatch
				iptables-nft -A cali-FORWARD -o cali+ -j cali-to-wl-dispatch
				iptables-nft -A cali-from-wl-dispatch -j DROP
				iptables-nft -A cali-to-wl-dispatch -j DROP`,
		},
		"translated sources": {
			nft: `table ip x { chain p { type filter hook postrouting priority 300; oifname "uplink" ip saddr 10.88.0.0/16 drop; }; }`,
			iptables: `iptables-nft -A FORWARD -m conntrack --ctstate SNAT -j ACCEPT
				iptables-nft -A FORWARD -d 10.88.0.0/16 -j DROP`,
		},
		"dormant": {
			nft: `table inet x { flags dormant; chain f { type filter hook forward priority 0; drop; }; }`,
		},
		"the node's own": {
			nft: `table inet x { chain i { type filter hook input priority 0; drop; }; chain o { type filter hook output priority 0; drop; }; chain f { type filter hook forward priority 0; iifname "uplink" ct state new drop; ct state invalid drop; }; }`,
		},
		"ours": {
			nft: `table inet masq { chain forward { type filter hook forward priority -150; drop; }; }`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := kernel(t)
			nftables(t, x.nft, "-f", "-")
			iptables(t, x.iptables)
			found, err := c.OtherConnectionDrops(containers, []string{"uplink"})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range found {
				got = append(got, fmt.Sprint(r.Family, " ", r.Table, " ", r.Chain, " ", r.Hook, " ", r.Action, " ", r.Sources, " ", r.Answers))
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("%q, not %q\n%s", got, x.want, nftables(t, "", "list", "ruleset"))
			}
		})
	}
}

// TestOtherInputDrops finds rules and policies that certainly drop what is redirected to a
// service of the node.
func TestOtherInputDrops(t *testing.T) {
	containers := []netip.Addr{netip.MustParseAddr("10.88.0.5"), netip.MustParseAddr("10.88.0.6"), netip.MustParseAddr("fd00:88::5")}
	for name, x := range map[string]struct {
		nft, iptables string
		want          []string // family, table, chain, action, sources, text
	}{
		"nothing": {},
		"by source": {
			nft:  `table inet x { chain i { type filter hook input priority 0; ip saddr 10.88.0.6 drop; ip6 saddr fd00:88::/64 drop; }; }`,
			want: []string{"inet x i drop [10.88.0.6] ip saddr 10.88.0.6 drop"},
		},
		"policy": {
			nft:  `table inet x { chain i { type filter hook input priority 0; policy drop; ct state established,related accept; iifname "lo" accept; tcp dport 22 accept; ip saddr 10.88.0.6 accept; }; }`,
			want: []string{"inet x i drop [10.88.0.5] policy drop"},
		},
		"rules before": {
			nft: `table inet x { chain i { type filter hook input priority 0; policy drop; ct status dnat accept; }; }
				table inet y { chain i { type filter hook input priority 0; policy drop; tcp dport 40000 accept; }; }
				table inet z { chain i { type filter hook input priority 0; policy drop; iifname "veth*" accept; }; }
				table inet a { chain i { type filter hook input priority 0; policy drop; ip daddr 192.0.2.2 accept; }; }
				table inet b { chain i { type filter hook input priority 0; policy drop; tcp dport { 22, 40000 } accept; }; }
				table inet c { chain i { type filter hook input priority 0; ct state invalid drop; iifname "uplink" drop; udp dport 40000 drop; ip daddr 192.0.2.3 drop; }; }`,
		},
		"to another address of the node": {
			nft:  `table inet x { chain i { type filter hook input priority 0; policy drop; ip daddr 192.0.2.3 accept; iifname "uplink" accept; udp dport 40000 accept; }; }`,
			want: []string{"inet x i drop [10.88.0.5 10.88.0.6] policy drop"},
		},
		// The order of the chains of ufw.
		"iptables": {
			iptables: `iptables-nft -P INPUT DROP
				iptables-nft -N ufw-before-input
				iptables-nft -N ufw-not-local
				iptables-nft -N ufw-user-input
				iptables-nft -A INPUT -j ufw-before-input
				iptables-nft -A ufw-before-input -i lo -j ACCEPT
				iptables-nft -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
				iptables-nft -A ufw-before-input -m conntrack --ctstate INVALID -j DROP
				iptables-nft -A ufw-before-input -p icmp --icmp-type echo-request -j ACCEPT
				iptables-nft -A ufw-before-input -p udp --sport 67 --dport 68 -j ACCEPT
				iptables-nft -A ufw-before-input -j ufw-not-local
				iptables-nft -A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
				iptables-nft -A ufw-not-local -j DROP
				iptables-nft -A ufw-before-input -d 224.0.0.251/32 -p udp --dport 5353 -j ACCEPT
				iptables-nft -A ufw-before-input -j ufw-user-input
				iptables-nft -A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT`,
			want: []string{"ip filter INPUT drop [10.88.0.5 10.88.0.6] policy drop"},
		},
		"iptables, translated destinations accepted": {
			iptables: `iptables-nft -P INPUT DROP
				iptables-nft -A INPUT -m conntrack --ctstate DNAT -j ACCEPT`,
		},
		// KUBE-FIREWALL, and the chain of Calico for packets to the node.
		"marks": {
			iptables: `iptables-nft -A INPUT ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
				iptables-nft -N cali-INPUT
				iptables-nft -A INPUT -j cali-INPUT
				iptables-nft -A cali-INPUT -i cali+ -m mark ! --mark 0x10000/0x10000 -j DROP`,
		},
		"other hooks": {
			nft: `table inet x { chain f { type filter hook forward priority 0; policy drop; }; chain o { type filter hook output priority 0; policy drop; }; }`,
		},
		"ours": {
			nft: `table inet masq-helpers { chain i { type filter hook input priority 0; policy drop; }; }`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := kernel(t)
			nftables(t, x.nft, "-f", "-")
			iptables(t, x.iptables)
			found, err := c.OtherInputDrops(containers, []string{"uplink"}, ruleset.HelperKey{Addr: netip.MustParseAddrPort("192.0.2.2:40000"), Proto: 6})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range found {
				got = append(got, fmt.Sprint(r.Family, " ", r.Table, " ", r.Chain, " ", r.Action, " ", r.Sources, " ", r.Text))
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("%q, not %q\n%s", got, x.want, nftables(t, "", "list", "ruleset"))
			}
		})
	}
}

// TestRuleText: rules of nft and of iptables-nft are described in nft's notation.
func TestRuleText(t *testing.T) {
	c := kernel(t)
	nftables(t, `table inet x { chain c { type nat hook postrouting priority 0; }; chain f { type filter hook forward priority 0; }; }`, "-f", "-")
	for rule, want := range map[string]string{
		`f ip saddr 10.0.0.0/8 ip daddr != 10.1.2.3 drop`:                                    `ip saddr 10.0.0.0/8 ip daddr != 10.1.2.3 drop`,
		`f ip6 saddr fd00::/7 tcp dport 443 counter accept`:                                  `ip6 saddr fc00::/7 tcp dport 443 counter packets 0 bytes 0 accept`,
		`f ct state established,related iifname "eth0" return`:                               `ct state established,related iifname "eth0" return`,
		`f iifname "veth*" oifname != "eth0" jump f2`:                                        `iifname "veth*" oifname != "eth0" jump f2`,
		`f meta mark & 0xff == 0x10 log drop`:                                                `meta mark & 0xff == 0x10 log drop`,
		`f icmp type destination-unreachable icmp code frag-needed drop`:                     `meta nfproto ipv4 icmp type . code 0x403 drop`,
		`f fib daddr type local limit rate 5/second reject with icmpx type host-unreachable`: `fib daddr type local [limit] reject`,
		`c ip saddr 10.0.0.1 snat ip to 192.0.2.1`:                                           `ip saddr 10.0.0.1 snat`,
		`c oifname "eth0" masquerade`:                                                        `oifname "eth0" masquerade`,
	} {
		if strings.Contains(rule, "f2") {
			nftables(t, "", "add", "chain", "inet", "x", "f2")
		}
		chain, text, _ := strings.Cut(rule, " ")
		nftables(t, "", "flush", "chain", "inet", "x", chain)
		nftables(t, "add rule inet x "+rule, "-f", "-")
		w := &walker{conn: c, rules: map[chainID][]foreignRule{}}
		all, err := w.rulesOf(chainID{tableID{1, "x"}, chain}) // NFPROTO_INET
		if err != nil || len(all) != 1 {
			t.Fatalf("%s: %v, %v", text, all, err)
		}
		if got := all[0].text(); got != want {
			t.Errorf("%s: %q, not %q", text, got, want)
		}
	}
}

// FuzzRule: a rule of any bytes is refused or read, without a panic.
func FuzzRule(f *testing.F) {
	for _, text := range []string{"ip saddr 10.0.0.0/9 drop", "tcp dport 80 counter jump x", "ct state new ip saddr @x masquerade"} {
		all, err := compile(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(list(all)))
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		r, err := readRule(map[uint16][]byte{4: b}) // NFTA_RULE_EXPRESSIONS
		if err == nil {
			_ = r.text()
			p := walkedPacket{leaves: true, uplinks: []string{"a"}}
			p.meet(&r, []netip.Addr{netip.MustParseAddr("10.0.0.1")})
		}
	})
}
