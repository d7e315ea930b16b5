package nft

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/test/assert"
)

func openOwned(t *testing.T) *Owned {
	t.Helper()
	o := assert.Must(OpenOwned(ruleset.HelperTableName))(t)
	t.Cleanup(func() { _ = o.Close() })
	return o
}

// streamed returns a policy with a helper of masqd.
func streamed() masq.Policy {
	p := masq.Default()
	p.Helpers = []masq.Helper{{Name: masq.RTSP, Ports: []uint16{554}}, {Name: masq.Talk, Ports: []uint16{517, 518}}}
	return p
}

// listening has the listeners of masqd.
var listening = map[masq.Family]ruleset.Listeners{
	masq.IPv4: {TCP: netip.MustParseAddrPort("192.0.2.2:7000"), UDP: netip.MustParseAddrPort("192.0.2.2:7001")},
	masq.IPv6: {TCP: netip.MustParseAddrPort("[2001:db8:1::2]:7000"), UDP: netip.MustParseAddrPort("[2001:db8:1::2]:7001")},
}

// sessions has elements of each kind and family.
func sessions() ruleset.HelperElements {
	e := ruleset.HelperElements{}
	for _, x := range []struct{ egress, peer, client string }{
		{"192.0.2.2:41000", "198.51.100.2", "10.88.0.5:5000"},
		{"[2001:db8:1::2]:41000", "2001:db8:2::2", "[fd00:88::5]:5000"},
	} {
		egress := netip.MustParseAddrPort(x.egress)
		e.Spoken = append(e.Spoken, ruleset.Spoken{Identity: "net/a/eth0", Local: netip.AddrPortFrom(egress.Addr(), 50000), Proto: unix.IPPROTO_TCP})
		e.Opened = append(e.Opened, ruleset.Opened{
			Identity: "net/a/eth0", Egress: egress, Proto: unix.IPPROTO_UDP,
			Peer: netip.MustParseAddr(x.peer), Client: netip.MustParseAddrPort(x.client), Timeout: time.Hour,
		})
	}
	return e
}

// helperTable returns a table with sets and rules of every kind.
func helperTable(t testing.TB) ruleset.Table {
	full := rich(t)
	full.Helpers = streamed().Helpers
	node := streamed()
	node.Node = true
	sources := ruleset.Sources{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/56")}, Policy: node}
	all := []masq.Attachment{attachment("a", full, "10.88.0.5", "fd00:88::5"), attachment("b", streamed(), "10.88.0.6", "10.244.0.7")}
	egress := everyEgress
	egress.Reserved = []masq.PortRange{{First: 30000, Last: 32767}}
	return ruleset.HelperTable(all, sources, egress, listening, sessions())
}

// listed is what nft lists in addition: the owner of the table, and the remaining time of
// elements.
var listed = regexp.MustCompile(` # progname nft\.test| expires [0-9a-z]+`)

func listOwned(t *testing.T) string {
	t.Helper()
	return listed.ReplaceAllString(nftables(t, "", "list", "table", "inet", ruleset.HelperTableName), "")
}

// TestOwnedTable: nft lists the table as it was asked for, and nft's own table with the same
// text is the same in the kernel.
func TestOwnedTable(t *testing.T) {
	c := kernel(t)
	want := helperTable(t)
	o := openOwned(t)
	for range 2 { // the table is made, and made again
		assert.NoError(t, o.Replace(want))
		differ(t, listOwned(t), want.String())
	}
	ours := contained(t, c)
	assert.NoError(t, o.Close())
	if left := nftables(t, "", "list", "ruleset"); left != "" {
		t.Errorf("after Close:\n%s", left)
	}
	// nft would delete a table that it owns.
	nftables(t, strings.Replace(want.String(), "\tflags owner\n", "", 1), "-f", "-")
	theirs := contained(t, c)
	for i, j := range common(ours, theirs) {
		if j < 0 {
			t.Errorf("nft does not make %s", ours[i])
		}
	}
	for i, j := range common(theirs, ours) {
		if j < 0 {
			t.Errorf("nft makes %s", theirs[i])
		}
	}
	if len(ours) < 100 {
		t.Errorf("only %d objects were compared", len(ours))
	}
}

// contained lists the objects of the table in the kernel, without their handles.
func contained(t *testing.T, c *Conn) (out []string) {
	t.Helper()
	var of netlink.Encoder
	of.Text(unix.NFTA_TABLE_NAME, ruleset.HelperTableName)
	each := func(typ int, of netlink.Encoder, f func(map[uint16][]byte)) {
		assert.NoError(t, c.list(unix.NFPROTO_INET, typ, of, func(_ uint8, b []byte) error {
			all, err := fields(b)
			if err == nil && netlink.Text(all[unix.NFTA_TABLE_NAME]) == ruleset.HelperTableName {
				f(all)
			}
			return err
		}))
	}
	add := func(what string, all map[uint16][]byte) {
		text := what
		for _, typ := range slices.Sorted(maps.Keys(all)) {
			text += fmt.Sprintf(" %d=%s", typ, hex.EncodeToString(all[typ]))
		}
		out = append(out, text)
	}
	var sets []string
	each(unix.NFT_MSG_GETCHAIN, of, func(f map[uint16][]byte) {
		delete(f, unix.NFTA_CHAIN_HANDLE)
		add("chain "+netlink.Text(f[unix.NFTA_CHAIN_NAME]), f)
	})
	each(unix.NFT_MSG_GETSET, of, func(f map[uint16][]byte) {
		delete(f, nftaSetHandle)
		delete(f, unix.NFTA_SET_USERDATA) // only nft reads it, to list the set
		sets = append(sets, netlink.Text(f[unix.NFTA_SET_NAME]))
		add("set "+netlink.Text(f[unix.NFTA_SET_NAME]), f)
	})
	each(unix.NFT_MSG_GETRULE, of, func(f map[uint16][]byte) {
		all := assert.Must(parseList(f[unix.NFTA_RULE_EXPRESSIONS]))(t)
		out = append(out, fmt.Sprintf("rule %s %q %s", f[unix.NFTA_RULE_CHAIN], f[unix.NFTA_RULE_USERDATA], fingerprint(all)))
	})
	for _, set := range sets {
		each(unix.NFT_MSG_GETSETELEM, elementsIn(ruleset.HelperTableName, set, nil), func(f map[uint16][]byte) {
			for _, item := range netlink.All(f[unix.NFTA_SET_ELEM_LIST_ELEMENTS]) {
				e := assert.Must(fields(item))(t)
				delete(e, unix.NFTA_SET_ELEM_EXPIRATION)
				add("element of "+set, e)
			}
		})
	}
	slices.Sort(out)
	return out
}

// nftaSetHandle is NFTA_SET_HANDLE of uapi/linux/netfilter/nf_tables.h.
const nftaSetHandle = 16

// TestOwnedTableOfNone: a table without chains is deleted, whether it exists or not.
func TestOwnedTableOfNone(t *testing.T) {
	kernel(t)
	o := openOwned(t)
	none := ruleset.HelperTable(nil, ruleset.Sources{}, ruleset.Egress{}, listening, sessions())
	for range 2 {
		assert.NoError(t, o.Replace(none))
		if left := nftables(t, "", "list", "ruleset"); left != "" {
			t.Errorf("left:\n%s", left)
		}
		assert.NoError(t, o.Replace(helperTable(t)))
	}
	assert.NoError(t, o.Replace(none))
	assert.NoError(t, o.Replace(none))
}

// TestOwnedReplacesALeftover: a table of the name that no program owns is replaced.
func TestOwnedReplacesALeftover(t *testing.T) {
	kernel(t)
	nftables(t, "table inet masq-helpers { chain prerouting { type filter hook input priority 0; drop; }; }", "-f", "-")
	o, want := openOwned(t), helperTable(t)
	assert.NoError(t, o.Replace(want))
	differ(t, listOwned(t), want.String())
}

// TestOwnedByOne: no other socket can change the table, and the error names the owner.
// Flushing the ruleset leaves the table.
func TestOwnedByOne(t *testing.T) {
	kernel(t)
	first, second, want := openOwned(t), openOwned(t), helperTable(t)
	assert.NoError(t, first.Replace(want))
	opened := sessions().Opened[0].Elements()
	for what, err := range map[string]error{
		"replace": second.Replace(want), "delete": second.Replace(ruleset.Table{}),
		"add an element":     second.Update([]ruleset.SetElements{opened}, nil),
		"delete an element":  second.Update(nil, []ruleset.SetElements{opened}),
		"element of no set":  second.Update([]ruleset.SetElements{{Set: ruleset.Set{Name: "none", Type: "ipv4_addr"}, Elements: []ruleset.Element{{Key: "192.0.2.1"}}}}, nil),
		"replace an element": second.Update([]ruleset.SetElements{opened}, []ruleset.SetElements{opened}),
	} {
		var owner *OwnerError
		if !errors.As(err, &owner) || owner.Table != "inet masq-helpers" || !owner.Certain || !strings.Contains(err.Error(), "table inet masq-helpers belongs to another program") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, command := range []string{
		"delete table inet masq-helpers", "flush table inet masq-helpers", "flush chain inet masq-helpers prerouting",
		"add rule inet masq-helpers prerouting drop", "add element inet masq-helpers listeners4 { 192.0.2.9 . tcp . 1 }",
	} {
		if out := nftablesFails(t, command); !strings.Contains(out, "Operation not permitted") {
			t.Errorf("%s: %s", command, out)
		}
	}
	nftables(t, "flush ruleset", "-f", "-")
	differ(t, listOwned(t), want.String())
	assert.NoError(t, first.Close())
	assert.NoError(t, second.Replace(want))
	differ(t, listOwned(t), want.String())
}

// TestOwnedUpdate: elements are added, replaced and deleted.
func TestOwnedUpdate(t *testing.T) {
	kernel(t)
	o := openOwned(t)
	a := attachment("a", streamed(), "10.88.0.5", "fd00:88::5")
	want := ruleset.HelperTable([]masq.Attachment{a}, ruleset.Sources{}, ruleset.Egress{}, listening, ruleset.HelperElements{})
	one := func(s ruleset.SetElements) []ruleset.SetElements { return []ruleset.SetElements{s} }
	if err := o.Update(one(sessions().Opened[0].Elements()), nil); !errors.Is(err, ErrStructure) {
		t.Errorf("without the table: %v", err)
	}
	assert.NoError(t, o.Update(nil, one(sessions().Opened[0].Elements())))
	assert.NoError(t, o.Update(nil, nil))
	assert.NoError(t, o.Replace(want))
	empty := listOwned(t)
	for i, opened := range sessions().Opened {
		spoken := sessions().Spoken[i]
		assert.NoError(t, o.Update([]ruleset.SetElements{opened.Elements(), spoken.Elements(*a.Policy)}, nil))
		with := ruleset.HelperTable([]masq.Attachment{a}, ruleset.Sources{}, ruleset.Egress{}, listening,
			ruleset.HelperElements{Spoken: []ruleset.Spoken{spoken}, Opened: []ruleset.Opened{opened}})
		differ(t, listOwned(t), with.String())

		assert.NoError(t, o.Update(one(opened.Elements()), nil)) // it exists
		differ(t, listOwned(t), with.String())

		other := opened
		other.Client = netip.AddrPortFrom(opened.Client.Addr(), opened.Client.Port()+1)
		if err := o.Update([]ruleset.SetElements{sessions().Spoken[1-i].Elements(*a.Policy), other.Elements()}, nil); !errors.Is(err, ErrConflict) {
			t.Errorf("another client: %v", err)
		}
		strange := spoken.Elements(masq.Default()) // the table does not have its chain
		if err := o.Update([]ruleset.SetElements{sessions().Opened[1-i].Elements(), strange}, one(spoken.Elements(*a.Policy))); !errors.Is(err, ErrStructure) {
			t.Errorf("without the policy's chain: %v", err)
		}
		for what, change := range map[string]func(*ruleset.Element){
			"key":          func(e *ruleset.Element) { e.Key = "192.0.2.1" },
			"a long key":   func(e *ruleset.Element) { e.Key += " . 1" },
			"protocol":     func(e *ruleset.Element) { e.Key = strings.Replace(e.Key, "udp", "300", 1) },
			"value":        func(e *ruleset.Element) { e.Data = "" },
			"value's port": func(e *ruleset.Element) { e.Data += "00000" },
		} {
			bad := opened.Elements()
			change(&bad.Elements[0])
			if err := o.Update([]ruleset.SetElements{sessions().Opened[1-i].Elements(), bad}, nil); err == nil {
				t.Errorf("an element with an invalid %s was added", what)
			}
		}
		differ(t, listOwned(t), with.String())

		opened.Timeout = 2 * time.Hour
		assert.NoError(t, o.Update(one(opened.Elements()), one(opened.Elements())))
		with = ruleset.HelperTable([]masq.Attachment{a}, ruleset.Sources{}, ruleset.Egress{}, listening,
			ruleset.HelperElements{Spoken: []ruleset.Spoken{spoken}, Opened: []ruleset.Opened{opened}})
		differ(t, listOwned(t), with.String())

		for range 2 { // it exists, and does not
			assert.NoError(t, o.Update(nil, []ruleset.SetElements{opened.Elements(), spoken.Elements(*a.Policy)}))
			differ(t, listOwned(t), empty)
		}
		opened.Timeout = time.Millisecond
		assert.NoError(t, o.Update(one(opened.Elements()), nil))
		assert.Until(t, "the element has ended", func() bool { return listOwned(t) == empty })
	}
}

// TestOwnedTableIsNoOthers: the table is not one of another program, its transactions are
// not about table inet masq, and its end is no transaction.
func TestOwnedTableIsNoOthers(t *testing.T) {
	c := kernel(t)
	a := attachment("a", streamed(), "10.88.0.5", "fd00:88::5")
	main := ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, everyEgress)
	_, err := c.Apply(main)
	assert.NoError(t, err)
	next, stop := received(t, c)
	o := openOwned(t)
	for range 2 {
		assert.NoError(t, o.Replace(helperTable(t)))
		assert.NoError(t, o.Update(nil, []ruleset.SetElements{sessions().Opened[0].Elements()}))
	}
	if x := assert.Must(c.OtherBaseChains())(t); len(x) > 0 {
		t.Errorf("other base chains: %+v", x)
	}
	if x := assert.Must(c.OtherSourceNAT(a.Addresses, []string{"lo"}))(t); len(x) > 0 {
		t.Errorf("other rules that translate: %+v", x)
	}
	if x := assert.Must(c.OtherConnectionDrops(a.Addresses, []string{"lo"}))(t); len(x) > 0 {
		t.Errorf("other rules that drop: %+v", x)
	}
	if x := assert.Must(c.Published())(t); len(x) > 0 {
		t.Errorf("published: %v", x)
	}
	if x := assert.Must(c.Drift(main, ruleset.Table{}))(t); len(x) > 0 {
		t.Errorf("drift: %v", texts(x))
	}
	if x := assert.Must(c.Check(a, hasAll))(t); len(x) > 0 {
		t.Errorf("CHECK: %v", texts(x))
	}
	if x := assert.Must(c.Owner())(t); x != nil {
		t.Errorf("owner of table inet masq: %v", x)
	}
	before := assert.Must(c.Generation())(t)
	assert.NoError(t, o.Close())
	if after := assert.Must(c.Generation())(t); after != before {
		t.Errorf("the end of the table made generation %d of %d", after, before)
	}
	nftables(t, "add element inet masq policy4 { 10.1.1.1 : goto policy-"+streamed().ID()+" }", "-f", "-")
	if x := next("an element"); len(x.Elements) != 1 || x.Elements[0].Key != "10.1.1.1" || x.Generation != before+1 {
		t.Errorf("%+v after generation %d", x, before)
	}
	assert.NoError(t, stop())
}
