package nft

import (
	"net/netip"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/test/assert"
)

// TestHelperElements: what is read is what was written.
func TestHelperElements(t *testing.T) {
	c := kernel(t)
	if all, err := c.HelperElements(); err != nil || len(all) > 0 {
		t.Errorf("without the table: %v, %v", all, err)
	}
	a := attachment("a", streamed(), "10.88.0.5", "fd00:88::5")
	o := openOwned(t)
	assert.NoError(t, o.Replace(ruleset.HelperTable([]masq.Attachment{a}, ruleset.Sources{}, ruleset.Egress{}, listening, sessions())))
	var want []HelperElement
	key := func(addr string, proto uint8, port uint16) ruleset.HelperKey {
		return ruleset.HelperKey{Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), port), Proto: proto}
	}
	redirect := func(k ruleset.HelperKey) {
		want = append(want, HelperElement{Kind: ruleset.RedirectMap, Key: k, Identity: a.Identity()})
	}
	redirect(key("10.88.0.5", unix.IPPROTO_UDP, 517))
	redirect(key("10.88.0.5", unix.IPPROTO_UDP, 518))
	redirect(key("10.88.0.5", unix.IPPROTO_TCP, 554))
	redirect(key("fd00:88::5", unix.IPPROTO_TCP, 554)) // talk has IPv4 only
	for _, s := range sessions().Spoken {
		want = append(want, HelperElement{Kind: ruleset.SpokenMap, Key: ruleset.HelperKey{Addr: s.Local, Proto: s.Proto}, Identity: s.Identity})
	}
	for _, x := range sessions().Opened {
		want = append(want, HelperElement{Kind: ruleset.OpenedMap, Key: ruleset.HelperKey{Addr: x.Egress, Proto: x.Proto, Peer: x.Peer}, Client: x.Client, Identity: x.Identity})
	}
	got := assert.Must(c.HelperElements())(t)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got := assert.Must(c.HelperElements(ruleset.OpenedMap, ruleset.SpokenMap))(t); !reflect.DeepEqual(got, want[4:]) {
		t.Errorf("got  %v\nwant %v", got, want[4:])
	}
	assert.NoError(t, o.Close())
	if all, err := c.HelperElements(); err != nil || len(all) > 0 {
		t.Errorf("after the end of the table: %v, %v", all, err)
	}
	// Another program's table of the name: an element of another type is an error, an
	// element that masqd does not make is left out.
	nftables(t, `table inet masq-helpers { map opened4 { type ipv4_addr : ipv4_addr; elements = { 192.0.2.1 : 192.0.2.2 }; }; }`, "-f", "-")
	if all, err := c.HelperElements(); err == nil {
		t.Errorf("read %v from a map of another type", all)
	}
	nftables(t, `delete table inet masq-helpers
		table inet masq-helpers { map spoken4 { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 192.0.2.1 . icmp . 7 : accept, 192.0.2.1 . sctp . 7 : accept }; }; }`, "-f", "-")
	if all, err := c.HelperElements(); err != nil || len(all) > 0 {
		t.Errorf("read %v, %v from a map of another program", all, err)
	}
}
