package cniconf

import (
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestHelpers(t *testing.T) {
	in := func(object string) string { return `"helpers": ` + object }
	checkFaults(t, []faulty{
		{
			"unknown", in(`{"fpt": [21], "a\u001b": []}`),
			`helpers: "fpt" is an unknown helper; use one of amanda, ftp, h323, irc, netbios-ns, pna, pptp, rtsp, sane, sip, snmp, talk, tftp` + "\n" +
				`helpers: "a\x1b" is an unknown helper; use one of amanda, ftp, h323, irc, netbios-ns, pna, pptp, rtsp, sane, sip, snmp, talk, tftp`,
		},
		{"zero", in(`{"ftp": [0]}`), `helpers.ftp: 0 is not a port; give ports within 1-65535`},
		{"beyond", in(`{"ftp": [65536]}`), `helpers.ftp: 65536 is not a port; give ports within 1-65535`},
		{"fraction", in(`{"ftp": [2.1]}`), `helpers.ftp: 2.1 is not a port; give ports within 1-65535`},
		{"text", in(`{"ftp": ["21"]}`), `helpers.ftp: "21" is a string; give ports within 1-65535`},
		{"twice", in(`{"ftp": [21, 2121, 21]}`), `helpers.ftp: 21 is given twice; keep one of them`},
		{"no list", in(`{"ftp": 21}`), `helpers.ftp: 21 is a number; give a list of ports such as [21]`},
		{"null", in(`{"tftp": null}`), `helpers.tftp: null is not allowed here; give a list of ports such as [69]`},
		{"type", in(`["ftp"]`), `helpers: "[\"ftp\"]" is a list; give names with lists of ports, such as {"ftp": [21]}`},
		{"name twice", in(`{"ftp": [21], "ftp": [2121]}`), `helpers.ftp is given twice; keep one of them`},
		{"port of two", in(`{"irc": [21], "ftp": [21]}`), `helpers.irc: 21 is a tcp port of ftp already; give each port to one helper`},
		{
			"port of two over both", in(`{"sip": [1720], "h323": [1720]}`),
			`helpers.sip: 1720 is a udp port of h323 already; give each port to one helper`,
		},
		{"pna and rtsp", in(`{"rtsp": [554, 7070], "pna": []}`), `helpers.rtsp: 7070 is a tcp port of pna already; give each port to one helper`},
		{"ftp and rtsp", in(`{"rtsp": [21], "ftp": []}`), `helpers.rtsp: 21 is a tcp port of ftp already; give each port to one helper`},
		{"required", `"helpersRequired": "no"`, `helpersRequired: "no" is a string; give true or false, or remove the key`},
		{"required null", `"helpersRequired": null`, `helpersRequired: null is not allowed here; give true or false, or remove the key`},
	})
	// The same port over another protocol is another port.
	load(t, in(`{"ftp": [69], "tftp": [69]}`))
}

// Each helper is known by its name, and has its own port when none is given.
func TestHelpersDefault(t *testing.T) {
	for _, kind := range masq.HelperKinds {
		got := load(t, `"helpers": {"`+kind.Name+`": []}`).Policy.Helpers
		if len(got) != 1 || got[0].Name != kind.Name || !slices.Equal(got[0].Ports, kind.Ports()) {
			t.Errorf("%s: got %v", kind.Name, got)
		}
	}
}

// TestHelpersRequired: helpers are required by default. The key alone is no policy.
func TestHelpersRequired(t *testing.T) {
	for text, want := range map[string]bool{`"mtu": 0`: true, `"helpersRequired": true`: true, `"helpersRequired": false`: false} {
		if c := load(t, text); c.HelpersRequired != want || c.PolicyNamed {
			t.Errorf("%s: required %t, a policy of the network: %t", text, c.HelpersRequired, c.PolicyNamed)
		}
	}
}
