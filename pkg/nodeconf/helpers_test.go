package nodeconf

import (
	"reflect"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestHelpers(t *testing.T) {
	n := load(t, "helpers:\n  tftp: [69]\n  ftp: [2121, 21]\n  h323: []\n")
	want := []masq.Helper{{Name: "ftp", Ports: []uint16{21, 2121}}, {Name: "h323", Ports: []uint16{1719, 1720}}, {Name: "tftp", Ports: []uint16{69}}}
	if got := n.Policy.Helpers; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	n = load(t, "helpers: {talk: [], rtsp: [8554, 554], pna: []}\n")
	want = []masq.Helper{{Name: "pna", Ports: []uint16{7070}}, {Name: "rtsp", Ports: []uint16{554, 8554}}, {Name: "talk", Ports: []uint16{517, 518}}}
	if got := n.Policy.Helpers; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	const names = "amanda, ftp, h323, irc, netbios-ns, pna, pptp, rtsp, sane, sip, snmp, talk, tftp"
	checkFaults(t, []faulty{
		{"list", "helpers: [ftp]", `f:1:10: helpers: "[\"ftp\"]" is a list; give names with lists of ports, such as {"ftp": [21]}`},
		{"null", "helpers:", `f:1:9: helpers: null is not allowed here; give names with lists of ports, such as {"ftp": [21]}`},
		{"unknown", "helpers: {FTP: [21]}", `f:1:11: helpers: "FTP" is an unknown helper; use one of ` + names},
		{"number", "helpers: {21: ftp}", `f:1:11: helpers: 21 is an unknown helper; use one of ` + names},
		{"one port", "helpers: {ftp: 21}", `f:1:16: helpers.ftp: 21 is a number; give a list of ports such as [21]`},
		{"text", `helpers: {ftp: ["21"]}`, `f:1:17: helpers.ftp: "21" is a string; give ports within 1-65535`},
		{"zero", "helpers: {ftp: [0, 65536, 1e3, 021]}", `f:1:17: helpers.ftp: 0 is not a port; give ports within 1-65535
f:1:20: helpers.ftp: 65536 is not a port; give ports within 1-65535
f:1:27: helpers.ftp: 1e3 is not a port; give ports within 1-65535
f:1:32: helpers.ftp: 021 is not a port; give ports within 1-65535`},
		{"twice", "helpers: {ftp: [21, 21]}", `f:1:21: helpers.ftp: 21 is given twice, first on line 1, column 17; keep one of them`},
		{"helper twice", "helpers:\n  ftp: [21]\n  ftp: []", `f:3:3: helpers.ftp is given twice, first on line 2, column 3; keep one of them`},
		{"shared with pna", "helpers: {rtsp: [7070], pna: []}", `f:1:17: helpers.rtsp: 7070 is a tcp port of pna already, on line 1, column 30; give each port to one helper`},
		{"required", "helpersRequired: false", `f:1:1: "helpersRequired" is an unknown key; remove it`},
		{"shared", "helpers:\n  sip: [1720]\n  h323: []", `f:2:8: helpers.sip: 1720 is a udp port of h323 already, on line 3, column 9; give each port to one helper`},
	})
}
