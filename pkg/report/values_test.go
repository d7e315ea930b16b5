package report

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

var (
	noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	addr = netip.MustParseAddr
)

// hostile is a name that would clear the screen, change colors, reverse the direction of text
// and break a table.
const hostile = "a\x1b[2J\x1b]0;x\a\u009b31m\u202e b\tc\nd\xff"

func record(id, namespace, name string, p *masq.Policy, addrs ...string) store.Record {
	r := store.Record{
		Attachment: masq.Attachment{
			Key: masq.Key{Network: "pods", ContainerID: id, Interface: "eth0"},
			Pod: masq.Pod{Namespace: namespace, Name: name}, Policy: p,
		},
		Ready: true, Links: []string{"veth" + id[:4]}, NetNS: "/run/netns/" + id[:4], MTU: 1500, Created: noon.Add(-90 * time.Minute),
	}
	for _, a := range addrs {
		r.Addresses = append(r.Addresses, addr(a))
	}
	return r
}

// records returns the records of a pod with two addresses, a pod with the node's policy, a
// container without pod and policy, and a pending attachment with a hostile name.
func records() []store.Record {
	own, node := masq.Default(), masq.Default()
	own.SNATAddresses = []netip.Addr{addr("192.0.2.2")}
	own.ToPorts = []masq.PortRange{{First: 20000, Last: 29999}}
	own.Helpers = []masq.Helper{{Name: "ftp", Ports: []uint16{21, 2121}}, {Name: masq.RTSP, Ports: []uint16{554, 8554}}}
	node.Node = true
	alone := record("cccc56789abcdef0123", "", "", nil, "10.88.0.4")
	alone.Chained = true
	pending := record("dddd56789", hostile, hostile, &own, "10.88.0.5")
	pending.Ready = false
	return []store.Record{
		record("aaaa56789abcdef", "shop", "web", &own, "10.88.0.2", "fd00:88::2"),
		record("bbbb56789abcdef", "shop", "db", &node, "10.88.0.3"),
		alone, pending,
	}
}

func tcp(src string, srcPort uint16, dst string, dstPort uint16) conntrack.Tuple {
	return conntrack.Tuple{Src: addr(src), Dst: addr(dst), SrcPort: srcPort, DstPort: dstPort, Proto: unix.IPPROTO_TCP}
}

const all = conntrack.HasID | conntrack.HasMark | conntrack.HasState | conntrack.HasTimeout | conntrack.HasCounters | conntrack.HasTimestamps

// flows returns a flow of each kind.
func flows() []conntrack.Flow {
	const done = conntrack.Confirmed | conntrack.SrcNATDone | conntrack.DstNATDone
	snat := conntrack.Flow{
		Original: tcp("10.88.0.2", 40000, "198.51.100.2", 443), Reply: tcp("198.51.100.2", 443, "192.0.2.2", 20123),
		Status: done | conntrack.SrcNAT | conntrack.SeenReply | conntrack.Assured, ID: 1, Mark: 0x10,
		State: conntrack.TCPEstablished, Fields: all, Timeout: 5 * 24 * time.Hour,
		OriginalCounters: conntrack.Counters{Packets: 10, Bytes: 1500}, ReplyCounters: conntrack.Counters{Packets: 20, Bytes: 2_500_000},
		Start: noon.Add(-75 * time.Second).UnixNano(),
	}
	control := snat
	control.Original.DstPort, control.Reply.SrcPort, control.Reply.DstPort, control.ID = 21, 21, 20124, 2
	control.Helper = conntrack.Helper([]byte("ftp\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	data := conntrack.Flow{
		Original: tcp("198.51.100.2", 20, "192.0.2.2", 35000), Reply: tcp("10.88.0.2", 35000, "198.51.100.2", 20),
		Master: control.Original, Status: done | conntrack.DstNAT | conntrack.Expected | conntrack.SeenReply, ID: 3,
		State: conntrack.TCPSynRecv, Fields: conntrack.HasID | conntrack.HasMark | conntrack.HasState,
	}
	ping := conntrack.Flow{
		Original: conntrack.Tuple{Src: addr("10.88.0.3"), Dst: addr("198.51.100.2"), Proto: unix.IPPROTO_ICMP, Type: 8, ID: 4711},
		Reply:    conntrack.Tuple{Src: addr("198.51.100.2"), Dst: addr("192.0.2.2"), Proto: unix.IPPROTO_ICMP, ID: 815},
		Status:   done | conntrack.SrcNAT, ID: 4, Fields: conntrack.HasID | conntrack.HasTimeout, Timeout: 30 * time.Second,
	}
	six := conntrack.Flow{
		Original: conntrack.Tuple{Src: addr("fd00:88::2"), Dst: addr("2001:db8::1"), SrcPort: 5000, DstPort: 53, Proto: unix.IPPROTO_UDP},
		Reply:    conntrack.Tuple{Src: addr("2001:db8::1"), Dst: addr("fd00:88::2"), SrcPort: 53, DstPort: 5000, Proto: unix.IPPROTO_UDP, Zone: 7},
		Status:   done, ID: 5, Fields: conntrack.HasID, Start: noon.Add(-time.Minute).UnixNano(), Stop: noon.Add(-30 * time.Second).UnixNano(),
	}
	// A flow from one attachment to another through an address of the node.
	both := conntrack.Flow{
		Original: tcp("10.88.0.3", 50000, "192.0.2.2", 80), Reply: tcp("10.88.0.5", 8080, "192.0.2.2", 50001),
		Status: done | conntrack.SrcNAT | conntrack.DstNAT | conntrack.Offload | conntrack.Assured, ID: 6, Fields: conntrack.HasID,
	}
	unowned := conntrack.Flow{
		Original: conntrack.Tuple{Src: addr("192.0.2.2"), Dst: addr("192.0.2.9"), Proto: unix.IPPROTO_ESP},
		Reply:    conntrack.Tuple{Src: addr("192.0.2.9"), Dst: addr("192.0.2.2"), Proto: unix.IPPROTO_ESP},
		Status:   done | conntrack.SeenReply, ID: 7, Fields: conntrack.HasID,
	}
	return []conntrack.Flow{snat, control, data, ping, six, both, unowned}
}

func described() []Flow {
	owners := OwnersOf(records())
	var out []Flow
	for _, f := range flows() {
		from, to := owners.Ends(&f)
		out = append(out, FlowOf(&f, from, to, noon))
	}
	return out
}

func tally() *Tally {
	t := NewTally(OwnersOf(records()))
	for _, f := range flows() {
		t.Add(&f)
	}
	return t
}

func nodePolicy() *store.Node {
	p := masq.Default()
	p.RandomFully = false
	return &store.Node{Policy: p, Sources: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}
}

func begun(all []store.Record) []nft.Begun {
	var out []nft.Begun
	for _, r := range all[:2] {
		for _, a := range r.Addresses {
			out = append(out, nft.Begun{Address: a.String(), Identity: r.Identity(), Counter: nft.Counter{Packets: 7}})
		}
	}
	return out
}

func expectation() Expectation {
	e := conntrack.Expectation{
		Tuple: tcp("198.51.100.2", 0, "192.0.2.2", 35000), Mask: tcp("255.255.255.255", 0, "255.255.255.255", 0xffff),
		Master: flows()[1].Original, Helper: flows()[1].Helper, Timeout: 299 * time.Second,
	}
	return ExpectationOf(&e, OwnersOf(records()))
}

func helpersValue() Helpers { return Helpers{described()[1:2], []Expectation{expectation()}} }

func portsValue() Ports {
	few := []portpool.Range{{First: 20000, Last: 20009}, {First: 30000, Last: 30009}}
	group := func(proto uint8, to string, port uint16) portpool.Group {
		return portpool.Group{Protocol: proto, Egress: addr("192.0.2.2"), Destination: addr(to), Port: port}
	}
	return PortsOf(&portpool.Sample{
		Time: noon, UnlistedShare: 0.001, Lost: portpool.Losses{NoPort: 3, NoRoom: 1}, NewlyLost: portpool.Losses{NoPort: 1}, ReusesClosed: true,
		Groups: []portpool.Forecast{
			{Usage: portpool.Usage{Group: group(unix.IPPROTO_TCP, "198.51.100.2", 443), Ranges: few, Usable: 20, Used: 20, Closing: 4, Holders: []portpool.Holder{{Source: addr("10.88.0.4"), Ports: 9}, {Source: addr("10.88.0.2"), Ports: 7}, {Source: addr("10.77.0.9"), Ports: 3}}}, Severity: portpool.Critical, Rate: 0.5},
			{Usage: portpool.Usage{Group: group(unix.IPPROTO_UDP, "198.51.100.2", 53), Ranges: few, Usable: 20, Used: 17, Holders: []portpool.Holder{{Source: addr("10.77.0.9"), Ports: 17}}}, Severity: portpool.Warning, Rate: 1.25, ExhaustedIn: 2400 * time.Millisecond},
			{Usage: portpool.Usage{Group: group(unix.IPPROTO_ICMP, "198.51.100.3", 8<<8), Ranges: []portpool.Range{{Last: 65535}}, Usable: 65536, Used: 1}, Rate: -1, ExhaustedIn: portpool.Never},
		},
	}, true, OwnersOf(records()))
}

func attachments() []Attachment {
	return AttachmentsOf(records(), DesiredOf(records(), nodePolicy(), hasAll), tally().ByOwner, begun(records()))
}

func driftValue() Drift {
	changes := compare.OfRules("", []nft.Difference{
		{Kind: nft.KindRule, Reason: masq.Unexpected, Parent: "forward", Object: hostile, Handle: 9},
		{Kind: nft.KindElement, Reason: masq.Missing, Parent: "policy4", Object: "10.88.0.2"},
	})
	id := records()[0].Identity()
	changes = append(changes, compare.Difference{Identity: id, Kind: "route", Name: "eth0 default via 169.254.1.1", Reason: masq.Missing, Found: "missing"})
	unseen := compare.Difference{Identity: id, Kind: "namespace", Name: "/run/netns/web", Found: "entering it takes CAP_SYS_ADMIN", Reason: masq.NotChecked}
	owners := OwnersOf(records())
	return Drift{true, ChangesOf(changes, owners), ChangesOf([]compare.Difference{unseen}, owners)}
}

func pods() []Pod {
	d := DesiredOf(records(), nodePolicy(), hasAll)
	a := attachments()
	return []Pod{
		{a[0], d.Policies()[0], driftValue().Changes, driftValue().NotChecked, PodDropped{Spoofed: new(uint64(2)), OtherLink: new(uint64(1)), Invalid: new(uint64)}, tally().States(), tally().Helpers(), DaemonHelpers{2, 4}, []Expectation{expectation()}},
		{Attachment: a[2], Drift: []Change{}, NotChecked: []Change{}, States: []StateCount{}, Helpers: []HelperCount{}, Expectations: []Expectation{}},
	}
}

func nodeValue(t testing.TB) *Node {
	t.Helper()
	d := DesiredOf(records(), nodePolicy(), hasAll)
	n := &Node{
		Problems: Problems{}, Time: Time{noon}, StateDir: "/run/masq-cni", Daemon: Daemon{Running: true, PID: 4711, Elsewhere: true},
		Table: &Table{Exists: true, Desired: true, Generation: 12, Rules: 34, Drift: 2}, Policies: d.Policies(), Links: &LinksState{Compared: 2, Differences: 1, NotChecked: 1, First: "shop/web: state veth1: down instead of up"},
		Firewalls: FirewallsOf([]nft.BaseChain{
			{Family: "inet", Table: "firewalld", Chain: "filter_FORWARD", Hook: "forward", Priority: 10, Rules: 3, Owner: "firewalld"},
			{Family: "ip", Table: "filter", Chain: "FORWARD", Hook: "forward", Drop: true},
		}),
		Uplinks:   []Uplink{{"eth0", addr("192.0.2.2")}, {"eth0", addr("2001:db8::2")}},
		Flows:     FlowsOf(tally(), 1),
		Dropped:   &Dropped{Spoofed: 5, OtherLink: 4, NoEgress: 1},
		Conntrack: ConntrackUseOf(conntrack.Table{Entries: 250_000, Limit: 262_144}, conntrack.Statistics{InsertFailed: 3, Drop: 3, EarlyDrop: 1, Invalid: 2}),
		Warnings:  []string{}, Notes: []string{}, DaemonHelpers: &DaemonHelpers{2, 1},
	}
	n.Daemon.Helpers = []string{masq.RTSP}
	n.Attachments.Total, n.Attachments.Chained, n.Attachments.NotReady = 4, 1, 1
	n.Evaluate(append(records(), record("eeee5678", "shop", strings.Repeat("x", 3), nil, "10.88.0.4")))
	return n
}

func rulesValue() []Rule {
	d := DesiredOf(records()[:2], nil, hasAll)
	var c []nft.CountedRule
	for _, chain := range d.Table.Chains {
		for i, r := range chain.Rules {
			if r.ID == "postrouting/policy4" {
				continue
			}
			counts := strings.Contains(r.Text, "counter ")
			k := nft.CountedRule{Chain: chain.Name, ID: r.ID, Handle: uint64(10 + i), Counts: counts}
			if counts {
				k.Counter = nft.Counter{Packets: uint64(i), Bytes: uint64(1500 * i)}
			}
			c = append(c, k)
		}
	}
	c = append(c,
		nft.CountedRule{Chain: "forward", ID: hostile, Handle: 99, Counts: true, Counter: nft.Counter{Packets: 1, Bytes: 60}},
		nft.CountedRule{Chain: "theirs", Handle: 100})
	all := RulesOf(d, c, []nft.Difference{
		{Kind: nft.KindRule, Reason: masq.Missing, Parent: "postrouting", Object: "postrouting/policy4"},
		{Kind: nft.KindRule, Reason: masq.Changed, Parent: "forward", Object: "forward/clamp", Detail: "changed or out of place"},
	})
	c = nil
	at := map[masq.Family]ruleset.Listeners{masq.IPv4: {TCP: helperElements()[0].Key.Addr}}
	for _, chain := range ruleset.HelperTable(d.Attachments, d.Sources, d.Egress, at, ruleset.HelperElements{}).Chains {
		for i, r := range chain.Rules {
			c = append(c, nft.CountedRule{Chain: chain.Name, ID: r.ID, Handle: uint64(10 + i)})
		}
	}
	return append(all, HelperRulesOf(d, helperElements(), c)...)
}

// helperElements are elements of masqd's table while masqd speaks for shop/web.
func helperElements() []nft.HelperElement {
	listener := ruleset.HelperKey{Addr: netip.MustParseAddrPort("192.0.2.2:40554"), Proto: unix.IPPROTO_TCP}
	spoken := ruleset.HelperKey{Addr: netip.MustParseAddrPort("192.0.2.2:40555"), Proto: unix.IPPROTO_TCP}
	return []nft.HelperElement{
		{Kind: ruleset.ListenerSet, Key: listener},
		{Kind: ruleset.SpokenMap, Key: spoken, Identity: records()[0].Identity()},
	}
}

// hasAll reports that the node has every egress address.
func hasAll(netip.Addr) (bool, error) { return true, nil }
