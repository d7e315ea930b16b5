package nodeconf

import (
	"encoding/json"
	"strings"
	"testing"
)

const full = `
nonMasqueradeCIDRs: [10.0.0.0/8, fd00::/8]
masqueradeCIDRs: [10.9.0.0/16]
masqLinkLocal: true
sourceCIDRs: [10.244.0.0/16]
snatAddresses: [192.0.2.1, 2001:db8::1]
toPorts: 20000-29999,40000
randomFully: false
mssClamp: 1360
helpers: {ftp: [2121, 21], tftp: []}
dropInvalid: false
acceptOtherLinks: true
resyncInterval: 90s
`

func TestText(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{full, `nonMasqueradeCIDRs  10.0.0.0/8
                    fd00::/8
masqueradeCIDRs     10.9.0.0/16
masqLinkLocal       true
masqLinkLocalIPv6   false
sourceCIDRs         10.244.0.0/16
snatAddresses       192.0.2.1
                    2001:db8::1
toPorts             20000-29999
                    40000-40000
randomFully         false
mssClamp            1360
helpers             ftp on 21 2121
                    tftp on 69
dropInvalid         false
acceptOtherLinks    true
resyncInterval      1m30s

direct, IPv4        10.0.0.0-10.8.255.255
                    10.10.0.0-10.255.255.255
                    224.0.0.0/4
                    255.255.255.255/32
direct, IPv6        fd00::/8
                    fe80::/10
                    ff00::/8
`},
		{"", `nonMasqueradeCIDRs  10.0.0.0/8
                    172.16.0.0/12
                    192.168.0.0/16
                    (the default: no file gives this key)
masqueradeCIDRs     none
masqLinkLocal       false
masqLinkLocalIPv6   false
sourceCIDRs         none: attachments only
snatAddresses       none: the address of the uplink
toPorts             none: the kernel chooses
randomFully         true
mssClamp            pmtu
helpers             none
dropInvalid         true
acceptOtherLinks    false

direct, IPv4        10.0.0.0/8
                    169.254.0.0/16
                    172.16.0.0/12
                    192.168.0.0/16
                    224.0.0.0/4
                    255.255.255.255/32
direct, IPv6        fe80::/10
                    ff00::/8
`},
	} {
		if got := load(t, tt.text).String(); got != tt.want {
			t.Errorf("got\n%s", got)
		}
	}
}

func TestJSON(t *testing.T) {
	got, err := json.Marshal(load(t, full))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"nonMasqueradeCIDRs":["10.0.0.0/8","fd00::/8"],"masqueradeCIDRs":["10.9.0.0/16"],"masqLinkLocal":true,"masqLinkLocalIPv6":false,"sourceCIDRs":["10.244.0.0/16"],"snatAddresses":["192.0.2.1","2001:db8::1"],"toPorts":"20000-29999,40000-40000","randomFully":false,"mssClamp":1360,"helpers":{"ftp":[21,2121],"tftp":[69]},"dropInvalid":false,"acceptOtherLinks":true,"resyncInterval":"1m30s"}`
	if string(got) != want {
		t.Errorf("got\n%s", got)
	}
	// The output for many prefixes is an accepted file.
	for _, text := range []string{full, "", "cidrLimit: 100\nnonMasqueradeCIDRs: " + many(100)} {
		n := load(t, text)
		printed, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		again := load(t, string(printed))
		if again.Assumed = n.Assumed; !equal(again, n) {
			t.Errorf("%s", printed)
		}
	}
}

// Warnings are a further key.
func TestJSONWarnings(t *testing.T) {
	n := mustMerge(t, "masqLinkLocal: true", "masqLinkLocal: false")
	text, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	n.Warnings = nil
	plain, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	const warnings = `,"warnings":[{"file":"b","line":1,"column":16,"key":"masqLinkLocal","value":"false","message":"has no effect: true at a:1:16 overrides it; keep one of them"}]}`
	if want := strings.TrimSuffix(string(plain), "}") + warnings; string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}
