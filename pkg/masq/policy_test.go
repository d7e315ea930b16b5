package masq

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestPolicyID(t *testing.T) {
	a := Default()
	a.NonMasquerade = prefixes("10.0.0.0/8", "192.168.0.0/16")
	a.Helpers = []Helper{{"ftp", []uint16{2121, 21}}, {"tftp", []uint16{69}}}
	b := Default()
	b.NonMasquerade = prefixes("192.168.0.0/16", "10.0.0.0/8", "10.0.0.0/8")
	b.Helpers = []Helper{{"tftp", []uint16{69}}, {"ftp", []uint16{21, 2121}}}
	if !a.Equal(b) {
		t.Error("the order in which lists are written makes a difference")
	}
	if a.NonMasquerade[0].String() != "10.0.0.0/8" || a.Helpers[0].Ports[0] != 2121 {
		t.Error("asking for the ID changed the policy")
	}
	seen := map[string]string{}
	for field, change := range map[string]func(*Policy){
		"none":          func(*Policy) {},
		"Node":          func(p *Policy) { p.Node = true },
		"EgressDirect":  func(p *Policy) { p.EgressDirect = true },
		"NonMasquerade": func(p *Policy) { p.NonMasquerade = prefixes("10.0.0.0/9") },
		"Masquerade":    func(p *Policy) { p.Masquerade = prefixes("10.0.0.0/9") },
		"Subnets":       func(p *Policy) { p.Subnets = prefixes("10.0.0.0/9") },
		"LinkLocal4":    func(p *Policy) { p.LinkLocal4 = true },
		"LinkLocal6":    func(p *Policy) { p.LinkLocal6 = true },
		"SNATAddresses": func(p *Policy) { p.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
		"SNATRouted":    func(p *Policy) { p.SNATRouted = []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
		"ToPorts":       func(p *Policy) { p.ToPorts = []PortRange{{1024, 2048}} },
		"RandomFully":   func(p *Policy) { p.RandomFully = false },
		"MSSClamp":      func(p *Policy) { p.MSSClamp = ClampOff },
		"MSSClamps":     func(p *Policy) { p.MSSClamps = MSSClamps{netip.MustParsePrefix("10.0.0.0/9"): 500} },
		"Helpers":       func(p *Policy) { p.Helpers = nil },
		"DropInvalid":   func(p *Policy) { p.DropInvalid = false },

		"AcceptOtherLinks": func(p *Policy) { p.AcceptOtherLinks = true },
	} {
		p := a
		change(&p)
		if other, ok := seen[p.ID()]; ok {
			t.Errorf("changing %s gives the ID of changing %s", field, other)
		}
		seen[p.ID()] = field
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back Policy
		if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, p) {
			t.Errorf("%s: %s reads back as %+v, %v", field, text, back, err)
		}
	}
	if n := reflect.TypeOf(a).NumField() - 2; len(seen) != n+1 { // all but AllowAnnotations and LocalMSSClamps
		t.Errorf("%d fields, but %d tried", n, len(seen)-1)
	}
	for _, list := range [][]string{nil, {}, {EgressAnnotation}} {
		p := a
		p.AllowAnnotations = list
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back Policy
		if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, p) {
			t.Errorf("%s reads back as %+v, %v", text, back, err)
		}
		if p.ID() != a.ID() {
			t.Errorf("%q in allowAnnotations change the ID, and no rule", list)
		}
	}
}

func TestKeyString(t *testing.T) {
	short := Key{"net", strings.Repeat("a", 64), "eth0"}
	if got := short.String(); got != "net/"+strings.Repeat("a", 64)+"/eth0" {
		t.Errorf("got %q", got)
	}
	long := Key{strings.Repeat("n", 200), strings.Repeat("c", 200), "eth0"}
	other := long
	other.Network = strings.Repeat("n", 199) + "m"
	for _, k := range []Key{long, other} {
		if n := len(k.String()); n > 127 {
			t.Errorf("%d bytes do not fit a comment", n)
		}
	}
	if long.String() == other.String() {
		t.Error("two attachments have one identity")
	}
	if (Key{"a", "bc", "d"}).Digest() == (Key{"ab", "c", "d"}).Digest() {
		t.Error("two keys have one digest")
	}
	if n := len(long.HostName()); n != 15 {
		t.Errorf("a name of %d bytes", n)
	}
}

func TestParseToPorts(t *testing.T) {
	for _, tt := range []struct{ in, out, err string }{
		{"", "[]", ""},
		{"20000-29999", "[20000-29999]", ""},
		{"1000-2000", "", `"1000-2000" has privileged ports, those below 1024`},
		{"20000-29999, 40000", "[20000-29999 40000-40000]", ""},
		{"29999-20000", "", `"29999-20000" is reversed: 29999 is above 20000`},
		{"0-10", "", `"0-10": port 0 is not within 1-65535`},
		{"1-65536", "", `"1-65536": port 65536 is not within 1-65535`},
		{"a-b,5-4", "", `"a-b" is not a port range such as "20000-29999"` + "\n" + `"5-4" is reversed: 5 is above 4`},
		{"2000-3000,3000-4000", "", `"3000-4000" overlaps "2000-3000"`},
		{"-", "", `"-" is not a port range such as "20000-29999"`},
	} {
		got, problems := ParseToPorts(tt.in)
		var wrong []string
		for _, p := range problems {
			wrong = append(wrong, p.Wrong)
		}
		if err := strings.Join(wrong, "\n"); err != tt.err || err == "" && fmt.Sprint(got) != tt.out {
			t.Errorf("%q: got %v, %q, want %s, %q", tt.in, got, err, tt.out, tt.err)
		}
	}
}

func TestClampJSON(t *testing.T) {
	for in, want := range map[string]string{`"pmtu"`: "pmtu", `"off"`: "off", `1360`: "1360", `48`: "48", `65495`: "65495"} {
		var c Clamp
		if err := json.Unmarshal([]byte(in), &c); err != nil || c.String() != want {
			t.Errorf("%s: got %s, %v", in, c, err)
		}
		if out, err := json.Marshal(c); err != nil || string(out) != in {
			t.Errorf("%s is written as %s, %v", in, out, err)
		}
	}
	for _, in := range []string{`"on"`, `47`, `65496`, `1.5`, `null`, `[]`, `-1`, `1e300`} {
		var c Clamp
		if err := json.Unmarshal([]byte(in), &c); err == nil {
			t.Errorf("%s is taken as %s", in, c)
		}
	}
}

func TestPolicyValidate(t *testing.T) {
	p := Default()
	p.NonMasquerade = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8"), {}}
	p.SNATAddresses = []netip.Addr{{}, netip.MustParseAddr("224.0.0.1")}
	p.ToPorts = []PortRange{{5, 4}}
	p.Helpers = []Helper{{Name: "telepathy"}}
	err := p.Validate()
	if err == nil || len(strings.Split(err.Error(), "\n")) != 6 {
		t.Errorf("got %v", err)
	}
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}
