package nft

import (
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// FuzzCompile: any text compiles or is refused, and a compiled rule reads back as it was
// written.
func FuzzCompile(f *testing.F) {
	for _, c := range slices.Concat(ruleset.For(several(f), ruleset.Sources{}, everyEgress).Chains, helperTable(f).Chains) {
		for _, r := range c.Rules {
			f.Add(r.Text)
		}
	}
	f.Fuzz(func(t *testing.T, rule string) {
		all, err := compile(rule)
		if err != nil {
			return
		}
		back, err := parseList(list(all))
		if err != nil || fingerprint(back) != fingerprint(all) {
			t.Errorf("%q: %v\n%s\nreads back as\n%s", rule, err, fingerprint(all), fingerprint(back))
		}
	})
}

// FuzzRead: any answer gives a result or an error, never a panic or an endless loop.
func FuzzRead(f *testing.F) {
	var a netlink.Encoder
	a.Text(1, ruleset.Name)
	a.Nest(3, list([]expression{natOptions{ports: 1}.snat()}))
	f.Add([]byte(a))
	f.Add([]byte(elementList("policy4", nil)))
	f.Fuzz(func(_ *testing.T, b []byte) {
		o := &observed{objects: map[string]object{}, sets: map[string]*set{}, chains: map[string]*chain{"": {}}, handles: map[uint64]bool{}}
		_ = eachElement(b, func(rawElement) error { return nil })
		x, err := fields(b)
		if err != nil {
			return
		}
		_, _, _, _ = o.takeObject(x), o.takeSet(x), o.takeChain(x), o.takeRule(x)
	})
}

// FuzzKeys: keys of every type are read as they were written.
func FuzzKeys(f *testing.F) {
	f.Add("ipv4_addr . inet_service", "10.0.0.1 . 21")
	f.Add("ipv4_addr . inet_proto . inet_service . ipv4_addr", "192.0.2.1 . udp . 41000 . 198.51.100.1")
	f.Add("ifname . ipv6_addr", `"veth0" . fd00::1`)
	f.Add("fib_addrtype", "local")
	f.Add("ifname . ipv6_addr", `"\x000" . ::`)
	f.Fuzz(func(t *testing.T, typ, key string) {
		kt, err := parseType(typ)
		if err != nil || strings.Count(typ, ".") > 8 {
			return
		}
		raw, err := kt.append(nil, key)
		if err != nil {
			return
		}
		text, err := kt.decode(raw)
		if err != nil {
			t.Fatalf("%s %q: %v", typ, key, err)
		}
		again, err := kt.append(nil, text)
		if err != nil || string(again) != string(raw) {
			t.Errorf("%s %q reads back as %q, %v", typ, key, text, err)
		}
	})
}
