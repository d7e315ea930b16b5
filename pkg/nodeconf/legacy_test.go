package nodeconf

import (
	"slices"
	"testing"
	"time"
)

func apply(t *testing.T, n *Node, name, value string) error {
	t.Helper()
	all := LegacyFlags()
	i := slices.IndexFunc(all, func(f LegacyFlag) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("no flag %s", name)
	}
	err := all[i].Apply(n, value)
	if bad := n.Policy.Validate(); bad != nil {
		t.Errorf("--%s=%s leaves %v", name, value, bad)
	}
	return err
}

func TestAllReserved(t *testing.T) {
	all := []string{
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24",
		"192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	}
	for _, tt := range []struct {
		text, value string
		want        []string
	}{
		{"", "true", all},
		{"", "false", rfc1918},
		{"masqLinkLocal: true", "1", all},
		{"nonMasqueradeCIDRs: []", "true", nil},
		{"nonMasqueradeCIDRs: [11.0.0.0/8]", "true", []string{"11.0.0.0/8"}},
		{"masqueradeCIDRs: [100.64.0.0/10, 10.0.0.0/8]", "true", slices.Concat(all[1:3], all[4:])},
	} {
		n := load(t, tt.text)
		if err := apply(t, &n, "nomasq-all-reserved-ranges", tt.value); err != nil {
			t.Error(err)
		}
		if !slices.Equal(n.Policy.NonMasquerade, prefixesOf(tt.want...)) {
			t.Errorf("%q: got %v", tt.text, n.Policy.NonMasquerade)
		}
	}
	n := Default()
	if err := apply(t, &n, "nomasq-all-reserved-ranges", "true"); err != nil {
		t.Error(err)
	}
	rules{direct: all}.conforms(t, n.Policy)
	if !slices.Equal(private, prefixesOf(rfc1918...)) {
		t.Error("a flag changed the defaults")
	}
}

func TestEnableIPv6(t *testing.T) {
	n := Default()
	for _, name := range []string{"enable-ipv6", "nomasq-all-reserved-ranges"} {
		if err := apply(t, &n, name, "true"); err != nil || isDirect(n.Policy, addrsOf("2001:db8::1")[0]) {
			t.Error("IPv6 is direct", err)
		}
	}
	for _, order := range [][]string{{"enable-ipv6", "false", "nomasq-all-reserved-ranges", "true"}, {"nomasq-all-reserved-ranges", "true", "enable-ipv6", "false"}} {
		n = load(t, "masqLinkLocalIPv6: true")
		for ; len(order) > 0; order = order[2:] {
			if err := apply(t, &n, order[0], order[1]); err != nil {
				t.Error(err)
			}
		}
		for addr, want := range map[string]bool{"2001:db8::1": true, "fe80::1": true, "8.8.8.8": false, "198.18.0.1": true} {
			if isDirect(n.Policy, addrsOf(addr)[0]) != want {
				t.Errorf("%s: direct is not %t", addr, want)
			}
		}
	}
}

func TestTranslationFlags(t *testing.T) {
	n := load(t, "toPorts: 2000-3000\nrandomFully: true")
	for _, f := range [][2]string{{"to-ports", ""}, {"to-ports", "1024-29999,32768-65535"}, {"random-fully", "false"}, {"resync-interval", "90"}} {
		if err := apply(t, &n, f[0], f[1]); err != nil {
			t.Error(err)
		}
	}
	if portsText(n.Policy.ToPorts) != "1024-29999,32768-65535" || n.Policy.RandomFully || n.ResyncInterval != 90*time.Second {
		t.Errorf("got %+v", n)
	}
	if err := apply(t, &n, "resync-interval", "5m"); err != nil || n.ResyncInterval != 5*time.Minute {
		t.Error(n.ResyncInterval, err)
	}
}

func TestLegacyRefusals(t *testing.T) {
	const remedy = "; give FIRST-LAST within 1024-65535, several separated by commas"
	for _, tt := range []struct{ text, name, value, want string }{
		{"", "masq-chain", "", `"" is not the name of a chain; give 1-28 characters, or leave the flag out`},
		{"", "masq-chain", "a b", `"a b" is not the name of a chain; give 1-28 characters, or leave the flag out`},
		{"", "nomasq-all-reserved-ranges", "\x1b", `"\x1b" is not a boolean; give true or false`},
		{"", "enable-ipv6", "yes", `"yes" is not a boolean; give true or false`},
		{"nonMasqueradeCIDRs: [fd00::/8]", "enable-ipv6", "false", `"false" conflicts with the IPv6 prefix "fd00::/8" of a file; remove the prefix, or leave the flag out`},
		{"masqueradeCIDRs: [::/0]", "enable-ipv6", "false", `"false" conflicts with the IPv6 prefix "::/0" of a file; remove the prefix, or leave the flag out`},
		{"", "random-fully", "", `"" is not a boolean; give true or false`},
		{"", "to-ports", "x", `"x" is not valid: "x" is not a port range such as "20000-29999"` + remedy},
		{"", "to-ports", "1-65535", `"1-65535" is not valid: "1-65535" has privileged ports, those below 1024; give ports of 1024-65535`},
		{"", "resync-interval", "0", `"0" is shorter than 100ms; give a duration such as "60s"`},
		{"", "resync-interval", "soon", `"soon" is not a duration; give a duration such as "60s"`},
		{"", "log_file", "/x", `"/x" has no equivalent in masqd; logs go to stderr; collect them from there`},
		{"", "log_dir", "/x", `"/x" has no equivalent in masqd; logs go to stderr; collect them from there`},
		{"", "vmodule", "a=2", `"a=2" has no equivalent in masqd; use --log-level debug`},
	} {
		n := load(t, tt.text)
		before := n.String()
		if err := apply(t, &n, tt.name, tt.value); err == nil || err.Error() != tt.want {
			t.Errorf("--%s=%s: %v", tt.name, tt.value, err)
		}
		if n.String() != before {
			t.Errorf("--%s=%s was refused, but changed the configuration", tt.name, tt.value)
		}
	}
}

// The flags of the manifests of both programs are accepted.
func TestLegacyManifests(t *testing.T) {
	n := Default()
	for _, f := range [][2]string{
		{"masq-chain", "IP-MASQ"}, {"v", "2"}, {"logtostderr", "true"}, {"enable-ipv6", "true"}, {"resync-interval", "60"}, {"log_dir", ""},
	} {
		if err := apply(t, &n, f[0], f[1]); err != nil {
			t.Error(err)
		}
	}
	seen := map[string]bool{}
	for _, f := range LegacyFlags() {
		if f.Usage == "" || f.Apply == nil || seen[f.Name] {
			t.Errorf("%+v", f)
		}
		seen[f.Name] = true
	}
}
