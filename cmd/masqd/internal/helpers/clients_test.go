package helpers

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestClients: an address belongs to the last attachment that has it, with a helper of masqd or
// without. The policy of an attachment takes precedence over sourceCIDRs.
func TestClients(t *testing.T) {
	with := masq.Default()
	with.Helpers = []masq.Helper{{Name: masq.RTSP, Ports: []uint16{554}}}
	without, direct := masq.Default(), with
	direct.EgressDirect = true
	record := func(id string, p *masq.Policy, addresses ...string) *store.Record {
		r := &store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "net", ContainerID: id, Interface: "eth0"}, Policy: p}, Ready: true}
		for _, a := range addresses {
			r.Addresses = append(r.Addresses, netip.MustParseAddr(a))
		}
		return r
	}
	records := []*store.Record{
		record("asks", &with, "10.1.0.1", "fd00::1"),
		record("shared", &with, "10.1.0.2", "10.1.0.3"),
		record("plain", &without, "10.1.0.3"),
		record("within", &without, "10.2.0.1"),
		record("direct", &direct, "10.2.0.2"),
		record("unrelated", &without, "10.3.0.1"),
		record("bare", nil, "10.1.0.1"),
	}
	sources := ruleset.Sources{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")}, Policy: with}
	for _, c := range []struct {
		sources ruleset.Sources
		chosen  []string
		owners  map[string]string // "" for none
	}{
		{ruleset.Sources{}, []string{"asks", "shared", "plain"}, map[string]string{
			"10.1.0.1": "net/asks/eth0", "fd00::1": "net/asks/eth0", "10.1.0.2": "net/shared/eth0", "10.1.0.3": "",
			"10.2.0.1": "", "10.2.0.2": "", "10.2.0.3": "", "10.3.0.1": "",
		}},
		{sources, []string{"asks", "shared", "plain", "within", "direct"}, map[string]string{
			"10.1.0.1": "net/asks/eth0", "10.1.0.3": "", "10.2.0.1": "", "10.2.0.2": "", "10.2.0.3": "10.2.0.3", "10.3.0.1": "",
		}},
	} {
		attachments := served(reconcile.NodeConfig{}, c.sources.Prefixes, records)
		var chosen []string
		for _, a := range attachments {
			chosen = append(chosen, a.ContainerID)
		}
		if !slices.Equal(chosen, c.chosen) {
			t.Errorf("chosen %q, want %q", chosen, c.chosen)
		}
		var all clients
		all.set(attachments, c.sources, ruleset.Egress{})
		for a, want := range c.owners {
			got, ok := all.at(netip.MustParseAddr(a))
			if got.identity != want || ok != (want != "") {
				t.Errorf("%s: %q, %t, want %q", a, got.identity, ok, want)
			}
			if _, ok := all.named(want); want != "" && !ok {
				t.Errorf("%s has no policy", want)
			}
		}
		if _, ok := all.named("net/plain/eth0"); ok {
			t.Error("an attachment without a helper is a client")
		}
	}
	if got := served(reconcile.NodeConfig{}, nil, records[3:]); len(got) > 0 {
		t.Errorf("chosen %v", got)
	}
}
