package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func TestHashIsSmall(t *testing.T) {
	for _, c := range []struct {
		entries, limit uint32
		buckets        int
		tooLong        uint64
		want           bool
	}{
		{0, 262144, 262144, 0, false},
		{262144, 262144, 262144, 0, false},
		{262144, 262144, 65536, 0, false}, // a full table with the default before Linux 5.15
		{262145, 1 << 20, 65536, 0, true},
		{70000, 262144, 65536, 3, true},
		{60000, 262144, 65536, 3, false}, // the table was full, and is not now
		{10, 10, 0, 0, true},
	} {
		x := conntrackFacts{conntrack.Table{Entries: c.entries, Limit: c.limit}, conntrack.Statistics{ChainTooLong: c.tooLong}}
		if got := hashIsSmall(x, c.buckets); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

func TestManyInvalidPackets(t *testing.T) {
	for _, c := range []struct {
		x    invalidPackets
		want bool
	}{
		{invalidPackets{packets: 999}, false},
		{invalidPackets{packets: 1000}, true},
		{invalidPackets{packets: 1000, begun: 50}, true},
		{invalidPackets{packets: 1000, begun: 51}, false},
		{invalidPackets{packets: 100_000, begun: 1_000_000}, false},
		// A server has had some of 10 flows each two minutes, in a week 50,400.
		{invalidPackets{packets: 100_000, incoming: 10, age: 7 * 24 * time.Hour}, false},
		{invalidPackets{packets: 2_000_000, incoming: 10, age: 7 * 24 * time.Hour}, true},
		{invalidPackets{packets: 1000, incoming: 51, age: time.Second}, false},
	} {
		if got := c.x.many(); got != c.want {
			t.Errorf("%+v: %t", c.x, got)
		}
	}
}

// withPolicies sets the policies of the attachments of a testNode.
func (n *Node) withPolicies(all ...masq.Policy) *Node {
	x := &activePolicies{}
	for i := range all {
		x.Of = append(x.Of, &all[i])
	}
	_, _ = read(n, "active policies", func() (*activePolicies, error) { return x, nil })
	return n
}

// TestMissingHelper: policies with the same helpers are one question to the kernel, and the
// finding names the users and the module.
func TestMissingHelper(t *testing.T) {
	ftp := masq.Policy{Helpers: []masq.Helper{{Name: "ftp", Ports: []uint16{21, 2121}}}}
	direct := ftp
	direct.EgressDirect = true
	n := testNode(4).withPolicies(ftp, masq.Policy{}, ftp, direct)
	lists, err := n.helperLists()
	if err != nil || len(lists) != 1 || !slices.Equal(lists[0].attachments, []int{0, 2}) {
		t.Fatalf("%+v, %v", lists, err)
	}
	f := n.missingHelper(nft.MissingHelper{Helper: "ftp", Module: "nf_nat_ftp"}, lists[0])
	if f.String() != "helper ftp of a and 1 other container does not work: the kernel lacks module nf_nat_ftp" || f.Evidence[0].Value != "ftp 21, 2121" {
		t.Errorf("%s, %+v", f, f.Evidence)
	}
}

// controlFlow is a translated connection of an attachment.
func controlFlow(from int, port uint16) *conntrack.Flow {
	f := dnsFlow(from, "192.0.2.21", 0, conntrack.SrcNAT|conntrack.SeenReply|conntrack.Assured)
	f.Original.DstPort, f.Original.Proto = port, 6
	f.State, f.Timeout, f.Fields = conntrack.TCPEstablished, 5*24*time.Hour, conntrack.HasState|conntrack.HasTimeout
	return f
}

func TestHelperUses(t *testing.T) {
	ftp := masq.Policy{Helpers: []masq.Helper{{Name: "ftp", Ports: []uint16{21}}}}
	irc := masq.Policy{Helpers: []masq.Helper{{Name: "irc", Ports: []uint16{6667}}}}
	rtsp := masq.Policy{Helpers: []masq.Helper{{Name: masq.RTSP, Ports: []uint16{8554}}}}
	redirect := func(f *conntrack.Flow) {
		f.Status = f.Status&^conntrack.SrcNAT | conntrack.DstNAT
		f.Reply.Src, f.Reply.SrcPort = netip.MustParseAddr("192.0.2.2"), 40000
	}
	for _, c := range []struct {
		name              string
		flow              *conntrack.Flow
		change            func(*conntrack.Flow)
		missing, lacksOne bool
	}{
		{"port with its helper", controlFlow(0, 21), func(f *conntrack.Flow) { f.Helper = conntrack.Helper{'f', 't', 'p'} }, false, false},
		{"port without its helper", controlFlow(0, 21), nil, false, true},
		{"second port", controlFlow(0, 2121), nil, true, false},
		{"without a helper in the policy", controlFlow(1, 21), nil, true, false},
		{"second port with a helper of another program", controlFlow(0, 2121), func(f *conntrack.Flow) { f.Helper = conntrack.Helper{'f', 't', 'p'} }, false, false},
		{"another port", controlFlow(0, 443), nil, false, false},
		{"port of another attachment's helper", controlFlow(0, 6667), nil, false, false},
		{"helper of IPv4 only", controlFlow(2, 6667), func(f *conntrack.Flow) { f.Original.Src = netip.MustParseAddr("fd00::3") }, false, false},
		{"helper of the other protocol", controlFlow(0, 21), func(f *conntrack.Flow) { f.Original.Proto, f.Fields = 17, conntrack.HasTimeout }, false, false},
		{"direct", controlFlow(0, 2121), func(f *conntrack.Flow) { f.Status &^= conntrack.SrcNAT }, false, false},
		{"closing", controlFlow(0, 2121), func(f *conntrack.Flow) { f.State = conntrack.TCPTimeWait }, false, false},
		{"of an earlier container", controlFlow(0, 21), func(f *conntrack.Flow) { f.Timeout -= 2 * time.Hour }, false, false},
		{"idle for less than the container's age", controlFlow(0, 21), func(f *conntrack.Flow) { f.Timeout -= time.Hour / 2 }, false, true},
		{"with a timeout of a rule", controlFlow(0, 21), func(f *conntrack.Flow) { f.Timeout *= 2 }, false, false},
		{"data connection", controlFlow(0, 2121), func(f *conntrack.Flow) { f.Status |= conntrack.Expected }, false, false},
		{"of no container", controlFlow(100, 2121), nil, false, false},
		{"usual port of a helper of masqd", controlFlow(0, 554), nil, true, false},
		{"port of a helper of masqd", controlFlow(3, 8554), nil, false, true},
		{"port of a helper of masqd, redirected", controlFlow(3, 8554), redirect, false, false},
		{"port of a helper of the kernel, redirected by another program", controlFlow(0, 21), redirect, false, false},
	} {
		n := testNode(4).withPolicies(ftp, masq.Policy{}, irc, rtsp)
		if c.change != nil {
			c.change(c.flow)
		}
		if c.flow.Original.Src.Is6() {
			n.AllRecords[2].Addresses = append(n.AllRecords[2].Addresses, c.flow.Original.Src)
			n.Owners = report.OwnersOf(n.AllRecords)
		}
		facts := newFlowFacts(n)
		facts.Helpers.established = 5 * 24 * time.Hour
		facts.add(c.flow)
		_, _ = read(n, "flows", func() (*flowFacts, error) { return facts, nil })
		for configured, want := range map[bool]bool{false: c.missing, true: c.lacksOne} {
			got, err := n.helperUses(t.Context(), configured)
			if err != nil || (len(got) == 1) != want || len(got) > 1 {
				t.Errorf("%s, configured %t: %+v, %v", c.name, configured, got, err)
			}
		}
	}
}

// TestHelperPortRemedy: the remedy has the ports that the helper has now, and the new one.
func TestHelperPortRemedy(t *testing.T) {
	ftp := masq.Policy{Helpers: []masq.Helper{{Name: "ftp", Ports: []uint16{21, 990}}}}
	n := testNode(2).withPolicies(ftp, ftp)
	facts := newFlowFacts(n)
	facts.Helpers.established = 5 * 24 * time.Hour
	for i := range 2 {
		facts.add(controlFlow(i, 2121))
	}
	_, _ = read(n, "flows", func() (*flowFacts, error) { return facts, nil })
	got, err := helperPort.Run(t.Context(), n)
	if err != nil || len(got) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if s := got[0].String(); s != "TCP port 2121 is usual for FTP, and has 2 connections of a and 1 other container without a helper" {
		t.Error(s)
	}
	if s := got[0].Remedy.Text; !strings.HasPrefix(s, `set "helpers": {"ftp": [21, 990, 2121]} in the configuration of the network`) {
		t.Error(s)
	}
}

// TestHelperDaemon: helpers of masqd that policies have must be served.
func TestHelperDaemon(t *testing.T) {
	both := masq.Policy{Helpers: []masq.Helper{{Name: masq.RTSP, Ports: []uint16{554}}, {Name: masq.Talk, Ports: []uint16{518}}, {Name: "ftp", Ports: []uint16{21}}}}
	rtsp := masq.Policy{Helpers: []masq.Helper{{Name: masq.RTSP, Ports: []uint16{8554}}}}
	direct := both
	direct.EgressDirect = true
	for _, c := range []struct {
		name   string
		daemon report.Daemon
		want   []string
	}{
		{"served", report.Daemon{Running: true, Helpers: []string{masq.RTSP, masq.Talk}}, nil},
		{"one of two", report.Daemon{Running: true, Helpers: []string{masq.RTSP}}, []string{"helper talk of a does not work: masqd does not serve it"}},
		{"not running", report.Daemon{Helpers: []string{masq.RTSP, masq.Talk}}, []string{
			"helper rtsp of a and 1 other container does not work: masqd does not run", "helper talk of a does not work: masqd does not run",
		}},
		{"stopped", report.Daemon{Stopped: true, PID: 7, Helpers: []string{masq.RTSP}}, []string{
			"helper rtsp of a and 1 other container does not work: masqd is stopped", "helper talk of a does not work: masqd is stopped",
		}},
		{"elsewhere", report.Daemon{Running: true, Elsewhere: true, PID: 7, Helpers: []string{masq.RTSP, masq.Talk}}, []string{
			"helper rtsp of a and 1 other container does not work: masqd works in another network namespace",
			"helper talk of a does not work: masqd works in another network namespace",
		}},
	} {
		n := testNode(4).withPolicies(both, masq.Policy{}, rtsp, direct)
		n.Summary = &report.Node{Daemon: c.daemon}
		found, err := helperDaemon.Run(t.Context(), n)
		var got []string
		for _, f := range found {
			got = append(got, f.String())
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestMissingFeatures(t *testing.T) {
	all := []nft.Feature{
		{Name: "inet table", Available: true, Module: "nf_tables", For: "all functions"},
		{Name: "fib", Module: "nft_fib_inet", For: "not translating local destinations"},
		{Name: "rt mtu", For: "clamping the MSS to the path MTU"},
		{Name: "snat", Module: "nft_nat", For: "snatAddresses"},
		{Name: "numgen", Module: "nft_numgen", For: "several snatAddresses or port ranges"},
		{Name: "socket", Module: "nft_socket", For: "helpers"},
		{Name: "ct helper ftp", Module: "nf_conntrack_ftp", For: "ftp"},
		{Name: "flowtable", Module: "nf_flow_table_inet", For: "nothing yet"},
	}
	addresses := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	for _, c := range []struct {
		policy masq.Policy
		want   []string
	}{
		{masq.Policy{}, []string{"fib", "rt mtu"}},
		{masq.Policy{SNATAddresses: addresses[:1]}, []string{"fib", "rt mtu", "snat"}},
		{masq.Policy{SNATAddresses: addresses}, []string{"fib", "rt mtu", "snat", "numgen"}},
		{masq.Policy{Helpers: []masq.Helper{{Name: "ftp", Ports: []uint16{21}}}}, []string{"fib", "rt mtu", "socket"}},
	} {
		got := missingFeatures(all, &activePolicies{Of: []*masq.Policy{&c.policy, nil}}, "5.15.0")
		if len(got) != len(c.want) {
			t.Errorf("%+v: %v, want %v", c.policy, got, c.want)
			continue
		}
		for i, f := range got {
			if !strings.Contains(f.Message, `"`+c.want[i]+`"`) || f.Object != "kernel 5.15.0" {
				t.Errorf("%+v: %s, want %s", c.policy, f, c.want[i])
			}
		}
	}
}

func TestEffectiveCapabilities(t *testing.T) {
	const status = "Name:\tmasqd\nCapPrm:\t0000000000001000\nCapEff:\t0000000000001000\nCapBnd:\t000001ffffffffff\n"
	if text, set, ok := effectiveCapabilities(status); text != "0000000000001000" || set != 1<<12 || !ok {
		t.Error(text, set, ok)
	}
	if _, _, ok := effectiveCapabilities("Name:\tmasqd\n"); ok {
		t.Error("a status without CapEff is complete")
	}
}

func TestNftVersion(t *testing.T) {
	for s, c := range map[string]struct{ version, ok, old any }{
		"nftables v1.0.6 (Lester Gooch #5)": {"1.0.6", true, false},
		"nftables v0.9.8 (E.D.S.)":          {"0.9.8", true, false},
		"nftables v0.9.4 (Jive at Five)":    {"0.9.4", true, false},
		"nftables v0.9.3 (Topsy)":           {"0.9.3", true, true},
		"nftables v0.9 (Fearless Fosdick)":  {"0.9.0", true, true},
		"nftables v0.8.10":                  {"0.8.10", true, true},
		"nft: command not found":            {"0.0.0", false, true},
	} {
		if v, ok := parseNftVersion(s); v.String() != c.version || ok != c.ok || v.cannotList() != c.old {
			t.Errorf("%s: %s, %t, cannot list %t", s, v, ok, v.cannotList())
		}
	}
}

func TestPortRanges(t *testing.T) {
	r := func(s string) (out []masq.PortRange) {
		for part := range strings.SplitSeq(s, ",") {
			x, err := masq.ParsePortRange(part)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, x)
		}
		return out
	}
	if got := rangesText(common(r("8080,30000-32767"), r("31000-40000,8000-9000"))); got != "8080,31000-32767" {
		t.Error(got)
	}
	if got := portsIn(r("20000-20009,30000")); got != 11 {
		t.Error(got)
	}
	long := make([]masq.PortRange, 18)
	for i := range long {
		long[i] = masq.PortRange{First: uint16(i + 1), Last: uint16(i + 1)}
	}
	if got := rangesText(long); !strings.HasSuffix(got, "15,16, and 2 more") {
		t.Error(got)
	}
}

func TestPoliciesOf(t *testing.T) {
	own := masq.Default()
	own.ToPorts = []masq.PortRange{{First: 20000, Last: 29999}}
	shared := masq.Default()
	shared.Node = true
	records := make([]store.Record, 3)
	records[0].Policy, records[1].Policy = &own, &shared
	node := store.Node{Policy: masq.Default(), Sources: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}
	node.Helpers = []masq.Helper{{Name: "ftp", Ports: []uint16{21}}}
	x := policiesOf(records, &node)
	if len(x.Of) != 3 || len(x.Of[0].Helpers) != 0 || len(x.Of[1].Helpers) != 1 || x.Of[2] != nil || x.Sources == nil {
		t.Errorf("%+v", x)
	}
	if x := policiesOf(records, nil); len(x.Of[1].Helpers) != 0 || x.Sources != nil {
		t.Errorf("without a policy of the node: %+v", x)
	}
}
