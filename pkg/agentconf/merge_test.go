package agentconf

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

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
	if full := (Node{want, prefixesOf("10.244.0.0/16"), time.Minute, false}); !reflect.DeepEqual(n, full) {
		t.Errorf("got  %+v\nwant %+v", n, full)
	}
}

func TestMergeBooleans(t *testing.T) {
	for _, key := range []string{"masqLinkLocal", "masqLinkLocalIPv6", "randomFully", "dropInvalid"} {
		for _, tt := range []struct {
			first, second string
			want          bool
		}{
			{"true", "false", true},
			{"false", "true", true},
			{"true", "true", true},
			{"false", "false", false},
			{"false", "", false}, // a default does not count
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
			got := map[string]bool{"masqLinkLocal": p.LinkLocal4, "masqLinkLocalIPv6": p.LinkLocal6, "randomFully": p.RandomFully, "dropInvalid": p.DropInvalid}[key]
			if got != tt.want {
				t.Errorf("%s: %q and %q make %t", key, tt.first, tt.second, got)
			}
		}
	}
}

// The defaults stay until a file gives the key, were it without an entry.
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
		{"mssClamp", "mssClamp: pmtu", "\n\nmssClamp: 1360", `b:3:11: mssClamp: 1360: differs from "pmtu" at a:1:11; give one of them`},
		{"toPorts", "toPorts: 2000-3000", `{"toPorts": ""}`, `b:1:13: toPorts: "": differs from "2000-3000" at a:1:10; give one of them`},
		{"resyncInterval", "resyncInterval: 60s", "resyncInterval: 59s", `b:1:17: resyncInterval: "59s": differs from "60s" at a:1:17; give one of them`},
		{"helper", "helpers: {ftp: [21]}", "helpers: {ftp: [21, 2121]}", `b:1:16: helpers.ftp: "[21,2121]": differs from "[21]" at a:1:16; give one of them`},
		{"port", "helpers: {sip: [1720]}", "helpers: {h323: []}", `a:1:16: helpers.sip: 1720: udp port 1720 is h323's already, at b:1:17; give each port to one helper`},
		{"direct here, masqueraded there", "nonMasqueradeCIDRs:\n- 10.0.0.0/8", "masqueradeCIDRs:\n- 10.0.0.0/8", `b:2:3: masqueradeCIDRs: "10.0.0.0/8": is in nonMasqueradeCIDRs too, at a:2:3; keep one of them`},
		{"masqueraded here, direct there", "masqueradeCIDRs:\n- 10.0.0.0/8", "nonMasqueradeCIDRs:\n- 10.0.0.0/8", `a:2:3: masqueradeCIDRs: "10.0.0.0/8": is in nonMasqueradeCIDRs too, at b:2:3; keep one of them`},
		{"each by itself", "toPorts: x", "[", "a:1:10: toPorts: \"x\": \"x\" is not a port range such as \"20000-29999\"; give FIRST-LAST within 1024-65535, several separated by commas\nb:1:2: is not YAML: while parsing a flow node: did not find expected node content; mend it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := merge(tt.a, tt.b)
			wantFaults(t, err, tt.want)
		})
	}
}

// cidrLimit counts for its file alone, the product's bounds for all together.
func TestMergeLimits(t *testing.T) {
	second := strings.NewReplacer("[10.", "[11.", " 10.", " 11.").Replace(many(64))
	if n := mustMerge(t, "nonMasqueradeCIDRs: "+many(64), "nonMasqueradeCIDRs: "+second); len(n.Policy.NonMasquerade) != 128 {
		t.Errorf("got %d", len(n.Policy.NonMasquerade))
	}
	_, err := merge("sourceCIDRs: "+many(1024), "sourceCIDRs: [10.0.0.0/24, 11.0.0.0/8]")
	wantFaults(t, err, `b:1:28: sourceCIDRs: "11.0.0.0/8": is one more than 1024, together with the files before; remove some`)
	var first []string
	for i := range 64 {
		first = append(first, fmt.Sprintf("192.0.2.%d", i))
	}
	_, err = merge("snatAddresses: ["+strings.Join(first, ", ")+"]", "snatAddresses: [192.0.2.64]")
	wantFaults(t, err, `b:1:17: snatAddresses: "192.0.2.64": is one more than 64, together with the files before; remove some`)
	_, err = merge("snatAddresses: ["+strings.Join(first[:60], ", ")+"]", "toPorts: '1025,1026,1027,1028,1029'")
	wantFaults(t, err, `b:1:10: toPorts: "1025,1026,1027,1028,1029": 5 ranges for 60 IPv4 addresses make 300 pairs; give fewer addresses or fewer ranges`)
}
