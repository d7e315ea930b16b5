package veth

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestPairValidate(t *testing.T) {
	good := Pair{
		NetNS: "/run/netns/x", Interface: "eth0", MTU: 1500,
		HostName: masq.Key{Network: "n", ContainerID: "c", Interface: "eth0"}.HostName(), Identity: "n/c/eth0",
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.88.0.5/16")},
	}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spoil func(p *Pair)
		want  string
	}{
		{func(p *Pair) { p.NetNS = "" }, "the network namespace is missing"},
		{func(p *Pair) { p.Interface = "" }, `""`},
		{func(p *Pair) { p.Interface = ".." }, `".."`},
		{func(p *Pair) { p.Interface = "a/b" }, `"a/b"`},
		{func(p *Pair) { p.Interface = "a b" }, `"a b"`},
		{func(p *Pair) { p.HostName = "sixteen-letters-" }, `"sixteen-letters-"`},
		{func(p *Pair) { p.Identity = "" }, "alias"},
		{func(p *Pair) { p.Identity = "a\x00b" }, "alias"},
		{func(p *Pair) { p.Identity = strings.Repeat("x", 256) }, "alias"},
		{func(p *Pair) { p.MTU = 67 }, "MTU 67"},
		{func(p *Pair) { p.MTU = 65536 }, "MTU 65536"},
		{func(p *Pair) { p.Addresses = nil }, "the addresses are missing"},
		{func(p *Pair) { p.Addresses[0] = netip.Prefix{} }, "not an address"},
		{func(p *Pair) { p.Addresses[0] = netip.MustParsePrefix("::ffff:10.0.0.1/128") }, "::ffff:10.0.0.1/128"},
		{func(p *Pair) { p.Addresses[0] = netip.MustParsePrefix("fd00::1/64"); p.MTU = 1279 }, "1279 is below 1280, the least that IPv6 address fd00::1/64"},
		{func(p *Pair) { p.Routes = []masq.Route{{}} }, "not a prefix"},
		{func(p *Pair) { p.Routes = []masq.Route{{Dst: netip.MustParsePrefix("::/0")}} }, "no IPv6 address"},
		{func(p *Pair) {
			p.Routes = []masq.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), GW: netip.MustParseAddr("fd00::1")}}
		}, "other family"},
	} {
		p := good
		p.Addresses = append([]netip.Prefix(nil), good.Addresses...)
		c.spoil(&p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
	// All faults are reported.
	err := Pair{Interface: "/", HostName: "/", MTU: 1}.Validate()
	if got := len(strings.Split(err.Error(), "\n")); got != 6 {
		t.Errorf("%d faults, want 6: %v", got, err)
	}
}
