package nodeconf

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// merge reads files a, b, c.
func merge(texts ...string) (Node, error) {
	var files []file
	for i, text := range texts {
		files = append(files, file{name: string(rune('a' + i)), data: []byte(text)})
	}
	return parse(files)
}

func mustMerge(t *testing.T, texts ...string) Node {
	t.Helper()
	n, err := merge(texts...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMerge(t *testing.T) {
	n := mustMerge(t, `
nonMasqueradeCIDRs: [10.0.0.0/8]
masqueradeCIDRs: [10.9.0.0/16]
masqLinkLocal: true
snatAddresses: [192.0.2.1]
helpers: {ftp: [21]}
mssClamp: 1360
randomFully: false
`, `{"nonMasqueradeCIDRs": ["192.168.0.0/16", "10.0.0.0/8"], "masqueradeCIDRs": ["10.9.0.0/16", "10.8.0.0/16"],
 "masqLinkLocal": false, "sourceCIDRs": ["10.244.0.0/16"], "snatAddresses": ["192.0.2.2", "192.0.2.1"],
 "helpers": {"ftp": [], "tftp": []}, "mssClamp": 1360, "toPorts": "20000-20000,30000-30001", "resyncInterval": "60s"}`,
		``, `
toPorts: 20000, 30000-30001
resyncInterval: 1m
sourceCIDRs: [10.244.0.0/16]
masqLinkLocalIPv6: yes
`)
	want := masq.Default()
	want.NonMasquerade = prefixesOf("10.0.0.0/8", "192.168.0.0/16")
	want.Masquerade = prefixesOf("10.9.0.0/16", "10.8.0.0/16")
	want.LinkLocal4, want.LinkLocal6 = true, true
	want.SNATAddresses = addrsOf("192.0.2.1", "192.0.2.2")
	want.ToPorts = []masq.PortRange{{First: 20000, Last: 20000}, {First: 30000, Last: 30001}}
	want.RandomFully = false
	want.MSSClamp, _ = masq.ClampTo(1360)
	want.Helpers = []masq.Helper{{Name: "ftp", Ports: []uint16{21}}, {Name: "tftp", Ports: []uint16{69}}}
	full := Node{Policy: want, SourceCIDRs: prefixesOf("10.244.0.0/16"), ResyncInterval: time.Minute, Warnings: conftree.Faults{
		{File: "b", Line: 2, Column: 19, Key: "masqLinkLocal", Value: "false", Message: "has no effect: true at a:4:16 overrides it; keep one of them"},
	}}
	if !reflect.DeepEqual(n, full) {
		t.Errorf("got  %+v\nwant %+v", n, full)
	}
}

func TestMergeBooleans(t *testing.T) {
	for _, key := range []string{"masqLinkLocal", "masqLinkLocalIPv6", "randomFully", "dropInvalid", "acceptOtherLinks"} {
		for _, tt := range []struct {
			first, second string
			want          bool
		}{
			{"true", "false", true},
			{"false", "true", true},
			{"true", "true", true},
			{"false", "false", false},
			{"false", "", false}, // the default does not override
			{"", "false", false},
			{"", "true", true},
		} {
			var texts []string
			for _, v := range []string{tt.first, tt.second} {
				if v != "" {
					v = key + ": " + v
				}
				texts = append(texts, v)
			}
			p := mustMerge(t, texts...).Policy
			got := map[string]bool{"masqLinkLocal": p.LinkLocal4, "masqLinkLocalIPv6": p.LinkLocal6, "randomFully": p.RandomFully, "dropInvalid": p.DropInvalid, "acceptOtherLinks": p.AcceptOtherLinks}[key]
			if got != tt.want {
				t.Errorf("%s: %q and %q make %t", key, tt.first, tt.second, got)
			}
		}
	}
}

// Only values that another file overrides have warnings.
func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		name  string
		texts []string
		want  string
	}{
		{"true before", []string{"masqLinkLocal: true", "\nmasqLinkLocal: false"}, `b:2:16: masqLinkLocal: false has no effect: true at a:1:16 overrides it; keep one of them`},
		{"true after", []string{"dropInvalid: no", `{"dropInvalid": true}`}, `a:1:14: dropInvalid: "no" has no effect: true at b:1:17 overrides it; keep one of them`},
		{"each", []string{"randomFully: off", "randomFully: false", "randomFully: on", "randomFully: true", "randomFully: false"}, `a:1:14: randomFully: "off" has no effect: "on" at c:1:14 overrides it; keep one of them
b:1:14: randomFully: false has no effect: "on" at c:1:14 overrides it; keep one of them
e:1:14: randomFully: false has no effect: "on" at c:1:14 overrides it; keep one of them`},
		{"two keys", []string{"masqLinkLocalIPv6: true\nresyncInterval: 60s", "resyncInterval: 59s\nmasqLinkLocalIPv6: false"}, `a:2:17: resyncInterval: "60s" has no effect: "59s" at b:1:17 overrides it; keep one of them
b:2:20: masqLinkLocalIPv6: false has no effect: true at a:1:20 overrides it; keep one of them`},
		{"shorter between", []string{"resyncInterval: 2m", "resyncInterval: 1m", "resyncInterval: 60s", "resyncInterval: 61s"}, `a:1:17: resyncInterval: "2m" has no effect: "1m" at b:1:17 overrides it; keep one of them
d:1:17: resyncInterval: "61s" has no effect: "1m" at b:1:17 overrides it; keep one of them`},
		{"the same", []string{"masqLinkLocal: true\ndropInvalid: false\nresyncInterval: 60s", "masqLinkLocal: yes\ndropInvalid: n\nresyncInterval: 1m"}, ""},
		{"against a default", []string{"masqLinkLocal: true\nrandomFully: false", "resyncInterval: 1h"}, ""},
		{"null", []string{"masqLinkLocal: true", "masqLinkLocal:"}, ""},
		{"lists and limits", []string{"cidrLimit: 1\nnonMasqueradeCIDRs: [10.0.0.0/8]\nsnatAddresses: [192.0.2.1]", "cidrLimit: 2\nnonMasqueradeCIDRs: [11.0.0.0/8]\nsnatAddresses: [192.0.2.2]"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := mustMerge(t, tt.texts...)
			if got := n.Warnings.Error(); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if tt.want == "" && n.Warnings != nil {
				t.Errorf("got %#v", n.Warnings)
			}
		})
	}
	n := mustMerge(t, "resyncInterval: 2m", "resyncInterval: 1m", "resyncInterval: 61s")
	if n.ResyncInterval != time.Minute {
		t.Errorf("got %v", n.ResyncInterval)
	}
	// With a fault there are no warnings, because the last valid configuration stays active.
	if n, err := merge("masqLinkLocal: true\nmssClamp: off", "masqLinkLocal: false\nmssClamp: pmtu"); err == nil || n.Warnings != nil {
		t.Errorf("%v, %v", n.Warnings, err)
	}
}

// The defaults stay until a file gives the key, even with an empty list.
func TestMergeDefaults(t *testing.T) {
	n := mustMerge(t, "masqLinkLocal: true", "dropInvalid: true")
	if !n.Assumed || !slices.Equal(n.Policy.NonMasquerade, private) {
		t.Errorf("got %v", n.Policy.NonMasquerade)
	}
	n = mustMerge(t, "masqLinkLocal: true", "nonMasqueradeCIDRs: []")
	if n.Assumed || len(n.Policy.NonMasquerade) != 0 {
		t.Errorf("got %v", n.Policy.NonMasquerade)
	}
	n = mustMerge(t, "nonMasqueradeCIDRs: []", "nonMasqueradeCIDRs: [10.0.0.0/8]")
	if n.Assumed || !slices.Equal(n.Policy.NonMasquerade, prefixesOf("10.0.0.0/8")) {
		t.Errorf("got %v", n.Policy.NonMasquerade)
	}
}

func TestConflicts(t *testing.T) {
	for _, tt := range []struct{ name, a, b, want string }{
		{"mssClamp", "mssClamp: pmtu", "\n\nmssClamp: 1360", `b:3:11: mssClamp: 1360 conflicts with "pmtu" at a:1:11; keep one of them`},
		{"toPorts", "toPorts: 2000-3000", `{"toPorts": ""}`, `b:1:13: toPorts: "" conflicts with "2000-3000" at a:1:10; keep one of them`},
		{"helper", "helpers: {ftp: [21]}", "helpers: {ftp: [21, 2121]}", `b:1:16: helpers.ftp: "[21,2121]" conflicts with "[21]" at a:1:16; keep one of them`},
		{"port", "helpers: {sip: [1720]}", "helpers: {h323: []}", `a:1:16: helpers.sip: 1720 is a udp port of h323 already, at b:1:17; give each port to one helper`},
		{"direct here, masqueraded there", "nonMasqueradeCIDRs:\n- 10.0.0.0/8", "masqueradeCIDRs:\n- 10.0.0.0/8", `b:2:3: masqueradeCIDRs: "10.0.0.0/8" is in nonMasqueradeCIDRs too, at a:2:3; keep one of them`},
		{"masqueraded here, direct there", "masqueradeCIDRs:\n- 10.0.0.0/8", "nonMasqueradeCIDRs:\n- 10.0.0.0/8", `a:2:3: masqueradeCIDRs: "10.0.0.0/8" is in nonMasqueradeCIDRs too, at b:2:3; keep one of them`},
		{"repeated in one file", "snatAddresses: [192.0.2.1]", "snatAddresses: [192.0.2.1, 192.0.2.1]", `b:1:28: snatAddresses: "192.0.2.1" is given twice, first on line 1, column 17; keep one of them`},
		{"each by itself", "toPorts: x", "[", "a:1:10: toPorts: \"x\" is not valid: \"x\" is not a port range such as \"20000-29999\"; give FIRST-LAST within 1024-65535, several separated by commas\nb:1:2: the file is not valid YAML: while parsing a flow node: did not find expected node content; correct the syntax"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := merge(tt.a, tt.b)
			wantFaults(t, err, tt.want)
		})
	}
}

// cidrLimit applies to its file, and our maximum to all files together.
func TestMergeLimits(t *testing.T) {
	second := strings.NewReplacer("[10.", "[11.", " 10.", " 11.").Replace(many(64))
	if n := mustMerge(t, "nonMasqueradeCIDRs: "+many(64), "nonMasqueradeCIDRs: "+second); len(n.Policy.NonMasquerade) != 128 {
		t.Errorf("got %d", len(n.Policy.NonMasquerade))
	}
	_, err := merge("sourceCIDRs: "+many(1024), "sourceCIDRs: [10.0.0.0/24, 11.0.0.0/8]")
	wantFaults(t, err, `b:1:28: sourceCIDRs: "11.0.0.0/8" exceeds the limit of 1024 entries of all files together; remove entries`)
	var first []string
	for i := range 64 {
		first = append(first, fmt.Sprintf("192.0.2.%d", i))
	}
	_, err = merge("snatAddresses: ["+strings.Join(first, ", ")+"]", "snatAddresses: [192.0.2.64]")
	wantFaults(t, err, `b:1:17: snatAddresses: "192.0.2.64" exceeds the limit of 64 entries of all files together; remove entries`)
	_, err = merge("snatAddresses: ["+strings.Join(first[:60], ", ")+"]", "toPorts: '1025,1026,1027,1028,1029'")
	wantFaults(t, err, `b:1:10: toPorts: "1025,1026,1027,1028,1029" is not valid: 5 ranges for 60 IPv4 addresses make 300 pairs; give fewer addresses or fewer ranges, for at most 256 pairs`)
}
