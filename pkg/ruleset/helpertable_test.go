package ruleset

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/golden"
)

func withHelpers(f func(*masq.Policy), all ...masq.Helper) masq.Policy {
	return change(func(p *masq.Policy) {
		p.Helpers = all
		f(p)
	})
}

func unchanged(*masq.Policy) {}

var (
	rtsp = masq.Helper{Name: masq.RTSP, Ports: []uint16{554, 8554}}
	pna  = masq.Helper{Name: masq.PNA, Ports: []uint16{7070}}
	talk = masq.Helper{Name: masq.Talk, Ports: []uint16{517, 518}}

	addrPort = netip.MustParseAddrPort
	both     = map[masq.Family]Listeners{
		masq.IPv4: {TCP: addrPort("192.0.2.1:40000"), UDP: addrPort("192.0.2.1:40001")},
		masq.IPv6: {TCP: addrPort("[2001:db8::1]:40000"), UDP: addrPort("[2001:db8::1]:40001")},
	}
)

// helperCase is the input of HelperTable.
type helperCase struct {
	attachments []masq.Attachment
	sources     Sources
	egress      Egress
	listeners   map[masq.Family]Listeners
	dynamic     HelperElements
}

func (c helperCase) table() Table {
	return HelperTable(c.attachments, c.sources, c.egress, c.listeners, c.dynamic)
}

// helped returns a case with sets and chains of every kind.
func helped() helperCase {
	node := withHelpers(func(p *masq.Policy) { p.Node, p.NonMasquerade = true, prefixes("10.0.0.0/8") }, talk, rtsp)
	return helperCase{
		attachments: []masq.Attachment{
			attachment("a", withHelpers(unchanged, rtsp, pna), "10.244.0.5", "fd00:88::5"),
			attachment("b", masq.Default(), "10.244.0.6"),
		},
		sources:   Sources{prefixes("10.244.0.0/16", "fd00:244::/56"), node},
		listeners: both,
		dynamic: HelperElements{
			Spoken: []Spoken{{"", addrPort("192.0.2.1:50001"), 6}},
			Opened: []Opened{{"net/a/eth0", addrPort("192.0.2.1:41000"), 17, netip.MustParseAddr("198.51.100.1"), addrPort("10.244.0.5:5000"), 90 * time.Second}},
		},
	}
}

// TestHelperGolden compares tables with files as nft lists them.
func TestHelperGolden(t *testing.T) {
	v4 := map[masq.Family]Listeners{masq.IPv4: both[masq.IPv4]}
	cases := map[string]helperCase{
		"rtsp": {
			attachments: []masq.Attachment{attachment("a", withHelpers(func(p *masq.Policy) {
				p.Subnets = prefixes("10.88.0.0/16", "fd00:88::/64")
			}, rtsp), "10.88.0.5", "fd00:88::5")},
			listeners: both,
			egress:    Egress{Reserved: []masq.PortRange{{First: 30000, Last: 32767}}},
			dynamic: HelperElements{
				Spoken: []Spoken{{"net/a/eth0", addrPort("192.0.2.1:50000"), 6}, {"net/a/eth0", addrPort("[2001:db8::1]:50000"), 6}},
				Opened: []Opened{{"net/a/eth0", addrPort("[2001:db8::1]:41000"), 17, netip.MustParseAddr("2001:db8:1::1"), addrPort("[fd00:88::5]:5000"), 2 * time.Minute}},
			},
		},
		// talk is for IPv4 only, and the node has no IPv6 listener.
		"talk": {
			attachments: []masq.Attachment{attachment("a", withHelpers(unchanged, talk, masq.Helper{Name: "ftp", Ports: []uint16{21}}), "10.88.0.5", "fd00:88::5")},
			listeners:   v4,
		},
		"policies": {
			attachments: []masq.Attachment{
				attachment("a", withHelpers(unchanged, rtsp), "10.88.0.5"),
				attachment("b", withHelpers(func(p *masq.Policy) {
					p.SNATAddresses, p.ToPorts = []netip.Addr{netip.MustParseAddr("192.0.2.7")}, []masq.PortRange{{First: 20000, Last: 29999}}
				}, pna), "10.88.0.6"),
				attachment("c", masq.Default(), "10.88.0.7"),
			},
			listeners: v4,
		},
		"sources": helped(),
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			golden.Compare(t, filepath.Join("testdata", "helpers", name+".nft"), []byte(c.table().String()))
		})
	}
	files, err := filepath.Glob("testdata/helpers/*.nft")
	if err != nil || len(files) != len(cases) {
		t.Errorf("%d golden files for %d cases, %v", len(files), len(cases), err)
	}
}

// TestHelperTableOfNone: without a helper by masqd there is no table, and with one the other
// table does not change.
func TestHelperTableOfNone(t *testing.T) {
	direct := withHelpers(func(p *masq.Policy) { p.EgressDirect = true }, rtsp)
	ftp := withHelpers(unchanged, masq.Helper{Name: "ftp", Ports: []uint16{21}})
	bare := attachment("d", masq.Default(), "10.88.0.8")
	bare.Policy = nil
	c := helperCase{
		attachments: []masq.Attachment{attachment("a", direct, "10.88.0.5"), attachment("b", ftp, "10.88.0.6"), attachment("c", masq.Default(), "10.88.0.7"), bare},
		sources:     Sources{prefixes("10.0.0.0/8"), ftp},
		listeners:   both,
	}
	if got := c.table(); len(got.Chains)+len(got.Sets) > 0 || got.Name != HelperTableName {
		t.Errorf("nothing has a helper by masqd:\n%s", got)
	}
	c.sources = Sources{nil, withHelpers(unchanged, rtsp)}
	if got := c.table(); len(got.Chains) > 0 {
		t.Errorf("there are no sourceCIDRs:\n%s", got)
	}
	plain, with := masq.Default(), withHelpers(unchanged, rtsp, talk, pna)
	plain.Node, with.Node = true, true // so that both have the same ID
	of := func(p masq.Policy) string {
		return For([]masq.Attachment{attachment("a", p, "10.88.0.5")}, Sources{prefixes("10.0.0.0/8"), p}, Egress{}).String()
	}
	if of(plain) != of(with) {
		t.Errorf("the table has changed:\n%s", of(with))
	}
}

// keysOf returns the keys of a set with their chains.
func keysOf(t Table, set string) string {
	var out []string
	for _, s := range t.Sets {
		for _, e := range s.Elements {
			if s.Name == set {
				out = append(out, e.Key+" "+e.Goto)
			}
		}
	}
	return strings.Join(out, ", ")
}

// TestHelperTableOfDuplicates: an address belongs to the later attachment, whether it has a
// helper or not.
func TestHelperTableOfDuplicates(t *testing.T) {
	with, without := attachment("a", withHelpers(unchanged, pna), "10.0.0.1", "10.0.0.2", "10.0.0.2"), attachment("b", masq.Default(), "10.0.0.2")
	at := func(last string) string { return "10.0.0.1 . tcp . 7070 redirect-" + with.Policy.ID() + last }
	for _, c := range []struct {
		all  []masq.Attachment
		want string
	}{
		{[]masq.Attachment{with, without}, at("")},
		{[]masq.Attachment{without, with}, at(", 10.0.0.2 . tcp . 7070 redirect-" + with.Policy.ID())},
	} {
		if got := keysOf(helperCase{attachments: c.all, listeners: both}.table(), "redirect4"); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// TestHelperElementsStay: a session's elements stay while its attachment exists, with the
// attachment's current policy.
func TestHelperElementsStay(t *testing.T) {
	asks := attachment("a", withHelpers(unchanged, rtsp), "10.0.0.1")
	other := attachment("b", change(func(p *masq.Policy) { p.RandomFully = false }), "10.0.0.2")
	dynamic := HelperElements{}
	for i, identity := range []string{"net/a/eth0", "net/b/eth0", "net/gone/eth0", ""} {
		node, server := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
		dynamic.Spoken = append(dynamic.Spoken, Spoken{identity, netip.AddrPortFrom(node, uint16(50000+i)), 6})
		dynamic.Opened = append(dynamic.Opened, Opened{identity, netip.AddrPortFrom(node, uint16(41000+i)), 17, server, addrPort("10.0.0.1:5000"), time.Minute})
	}
	got := helperCase{attachments: []masq.Attachment{asks, other}, listeners: both, dynamic: dynamic}.table()
	if keys, want := keysOf(got, "spoken4"), "192.0.2.1 . tcp . 50000 "+PolicyChain(*asks.Policy)+", 192.0.2.1 . tcp . 50001 "+PolicyChain(*other.Policy); keys != want {
		t.Errorf("spoken: got %q, want %q", keys, want)
	}
	if keys, want := keysOf(got, "opened4"), "192.0.2.1 . udp . 41000 . 198.51.100.1 , 192.0.2.1 . udp . 41001 . 198.51.100.1 "; keys != want {
		t.Errorf("opened: got %q, want %q", keys, want)
	}
	for _, p := range []masq.Policy{*asks.Policy, *other.Policy} {
		if !slices.ContainsFunc(got.Chains, func(c Chain) bool { return c.Name == PolicyChain(p) }) {
			t.Errorf("chain %s is missing", PolicyChain(p))
		}
	}
}

// TestHelperTableRefersToItself: chains and sets that rules and elements name are in the
// table, and each rule has an ID and a reason.
func TestHelperTableRefersToItself(t *testing.T) {
	table := helped().table()
	chains, sets := map[string]bool{}, map[string]bool{}
	for _, c := range table.Chains {
		chains[c.Name] = true
	}
	for _, s := range table.Sets {
		sets[s.Name] = true
		for _, e := range s.Elements {
			if s.Verdict && !chains[e.Goto] {
				t.Errorf("%s: %s leads to chain %q", s.Name, e.Key, e.Goto)
			}
		}
	}
	for _, c := range table.Chains {
		seen := map[string]bool{}
		for _, r := range c.Rules {
			if r.ID == "" || r.Why == "" || seen[r.ID] || len(r.ID) > 127 {
				t.Errorf("chain %s: rule %+v", c.Name, r)
			}
			seen[r.ID] = true
			words := strings.Fields(r.Text)
			for i, w := range words {
				if set, ok := strings.CutPrefix(w, "@"); ok && !sets[set] {
					t.Errorf("chain %s: no set %s: %s", c.Name, set, r.Text)
				}
				if (w == "jump" || w == "goto") && !chains[words[i+1]] {
					t.Errorf("chain %s: no chain %s: %s", c.Name, words[i+1], r.Text)
				}
			}
		}
	}
}

// TestHelperShapeIsConstant: the number of rules does not grow with the number of attachments.
func TestHelperShapeIsConstant(t *testing.T) {
	shape := func(n int) (text string, elements int) {
		c := helped()
		p := *c.attachments[0].Policy
		for i := range n {
			a := attachment(fmt.Sprint(i), p, netip.AddrFrom4([4]byte{10, 244, byte(1 + i>>8), byte(i)}).String())
			a.Policy = &p
			c.attachments = append(c.attachments, a)
		}
		table := c.table()
		rules := 0
		for _, c := range table.Chains {
			rules += len(c.Rules)
		}
		for _, s := range table.Sets {
			elements += len(s.Elements)
		}
		return fmt.Sprintf("%d sets, %d chains, %d rules", len(table.Sets), len(table.Chains), rules), elements
	}
	one, few := shape(1)
	many, all := shape(10000)
	if one != many || all-few != 9999*4 {
		t.Errorf("one attachment has %s and %d elements, many have %s and %d elements", one, few, many, all)
	}
}
