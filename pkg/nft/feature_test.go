package nft

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// witness has nft's commands that use a feature, in a separate table.
var witness = map[string]string{
	"inet table":            "chain c { }",
	"filter chain":          "chain c { type filter hook forward priority mangle; }",
	"nat chain":             "chain c { type nat hook postrouting priority srcnat - 1; }",
	"verdict map":           "map m { type ipv4_addr : verdict; counter; }",
	"interval set":          "set s { type ipv6_addr; flags interval; }",
	"concatenation":         "set s { type ifname . ipv6_addr; }",
	"masquerade":            "chain c { masquerade fully-random; }",
	"snat":                  "chain c { snat ip to 192.0.2.1 fully-random; }",
	"fib":                   "chain c { fib daddr type local; }",
	"numgen":                "chain c { numgen random mod 2 < 1; }",
	"ct state":              "chain c { ct state new; }",
	"socket":                "chain c { type filter hook prerouting priority mangle; socket wildcard 1; }",
	"tcp option maxseg set": "chain c { tcp option maxseg size set 1300; }",
	"rt mtu":                "chain c { tcp option maxseg size set rt mtu; }",
	"ct helper set":         `counter c { }; chain c { counter name "c"; }`,
	"flowtable":             "flowtable f { hook ingress priority 0; }",
}

// TestFeatures: a feature is available exactly if nft can use it.
func TestFeatures(t *testing.T) {
	c := kernel(t)
	for _, k := range masq.KernelHelperKinds() {
		l3 := map[bool]string{true: "ip", false: "inet"}
		var text strings.Builder
		for _, how := range k.Assign {
			text.WriteString("ct helper " + k.Name + how.Protocol + ` { type "` + how.Kernel + `" protocol ` + how.Protocol + "; l3proto " + l3[how.IPv4Only] + "; }; ")
		}
		witness[helperFeature(k.Name)] = text.String()
	}
	all, err := c.Features()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(witness) {
		t.Errorf("%d features, and nft has commands for %d", len(all), len(witness))
	}
	for _, f := range all {
		cmd := exec.Command("nft", "-c", "-f", "-")
		cmd.Stdin = strings.NewReader("table inet witness {\n" + strings.ReplaceAll(witness[f.Name], "; ", "\n") + "\n}\n")
		out, err := cmd.CombinedOutput()
		if witness[f.Name] == "" || strings.Contains(string(out), "syntax") {
			t.Errorf("%s: nft does not know %q: %s", f.Name, witness[f.Name], out)
		}
		if f.Available != (err == nil) {
			t.Errorf("%s: available: %t, but nft: %v\n%s", f.Name, f.Available, err, out)
		}
		if f.For == "" {
			t.Errorf("%s: the use is not named", f.Name)
		}
		// Other tests of this package need all other features.
		if !f.Available && f.Name != "flowtable" {
			t.Errorf("%s is not available", f.Name)
		}
	}
	again, err := c.Features()
	if err != nil || !slices.Equal(again, all) {
		t.Errorf("asked again: %v, %v, before %v", again, err, all)
	}
}

func TestFeaturesChangeNothing(t *testing.T) {
	c := kernel(t)
	want := ruleset.For(several(t), others(t), everyEgress)
	for _, there := range []bool{false, true} {
		if there {
			if _, err := c.Apply(want); err != nil {
				t.Fatal(err)
			}
		}
		rules := nftables(t, "", "list", "ruleset")
		before, err := c.Generation()
		if err != nil {
			t.Fatal(err)
		}
		all, err := c.Features()
		if err != nil {
			t.Fatal(err)
		}
		// A transaction in which nothing is refused has no effect either.
		asked, err := probes()
		if err != nil {
			t.Fatal(err)
		}
		asked = slices.DeleteFunc(asked, func(p probe) bool {
			return slices.ContainsFunc(all, func(f Feature) bool { return f.Name == p.Name && !f.Available })
		})
		for range 2 {
			if got, err := c.features(asked); err != nil || slices.ContainsFunc(got, func(f Feature) bool { return !f.Available }) {
				t.Errorf("probed available features only: %v, %v", got, err)
			}
		}
		if after, err := c.Generation(); err != nil || after != before {
			t.Errorf("the generation was %d, is %d, %v", before, after, err)
		}
		if after := nftables(t, "", "list", "ruleset"); after != rules {
			t.Errorf("the ruleset was\n%s\nis\n%s", rules, after)
		}
	}
	// If the same transaction is committed, it is visible.
	before, err := c.Generation()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.commit([]op{dormantTable().within(probeTable)}, 0); err != nil {
		t.Fatal(err)
	}
	if after, err := c.Generation(); err != nil || after == before {
		t.Errorf("a table was made, and the generation is still %d, %v", after, err)
	}
	if list := nftables(t, "", "list", "tables"); !strings.Contains(list, "table inet "+probeTable) {
		t.Errorf("a table was made, and nft lists\n%s", list)
	}
}

// TestUnavailableFeature: if one feature is missing, only that one is reported.
func TestUnavailableFeature(t *testing.T) {
	c := kernel(t)
	var key, kind netlink.Encoder
	key.Uint32(unix.NFTA_RT_DREG, unix.NFT_REG_1)
	key.Uint32(unix.NFTA_RT_KEY, 99)
	kind.Uint32(unix.NFTA_NG_DREG, unix.NFT_REG_1)
	kind.Uint32(unix.NFTA_NG_MODULUS, 2)
	kind.Uint32(unix.NFTA_NG_TYPE, 99)
	for _, lacking := range []struct {
		what string
		op   op
	}{
		{"expression", ruleOf(expression{"none", nil})},
		{"helper", addObject(ruleset.Object{Name: "none", Kernel: "none", Protocol: "tcp"})},
		{"chain type", addChain(ruleset.Chain{Name: "none", Hook: &ruleset.Hook{Type: "none", Point: "forward", Priority: "mangle"}})},
		{"key", ruleOf(expression{"rt", key})},
		{"kind of an expression", ruleOf(expression{"numgen", kind})},
	} {
		all, err := probes()
		if err != nil {
			t.Fatal(err)
		}
		before, err := c.features(all)
		if err != nil {
			t.Fatal(err)
		}
		all = slices.Insert(all, 1, probe{Feature{Name: "none", Module: "nft_none"}, []op{lacking.op}})
		after, err := c.features(all)
		if err != nil {
			t.Fatal(err)
		}
		if want := (Feature{Name: "none", Module: "nft_none"}); after[1] != want {
			t.Errorf("%s: %+v, want %+v", lacking.what, after[1], want)
		}
		if others := slices.Delete(after, 1, 2); !slices.Equal(others, before) {
			t.Errorf("%s: the others are %v, were %v", lacking.what, others, before)
		}
	}
}

// TestFeaturesWithoutTable: without tables of the inet family no feature is available, and
// that is no error.
func TestFeaturesWithoutTable(t *testing.T) {
	c := kernel(t)
	all, err := probes()
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.features(all[1:])
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range got {
		if f.Available {
			t.Errorf("%s is available without a table", f.Name)
		}
	}
}

func TestFeatureWithoutNAT(t *testing.T) {
	all := []Feature{{Name: "ct helper ftp", Available: true, Module: "nf_conntrack_ftp"}, {Name: "ct helper sip", Module: "nf_conntrack_sip"}, {Name: "fib", Available: true}}
	want := slices.Clone(all)
	want[0] = Feature{Name: "ct helper ftp", Module: "nf_nat_ftp"}
	if got := withoutNAT(all, []MissingHelper{{"ftp", "nf_nat_ftp"}, {"sip", "nf_nat_sip"}}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFeaturesNeedNetAdmin(t *testing.T) {
	c := kernel(t)
	// Only this thread loses the capability, and it ends with the test.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	if all, err := c.Features(); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("got %v, %v", all, err)
	}
}

func BenchmarkFeatures(b *testing.B) {
	c := kernel(b)
	for b.Loop() {
		if _, err := c.Features(); err != nil {
			b.Fatal(err)
		}
	}
}
