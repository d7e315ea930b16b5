package hostlocal

import (
	"net/netip"
	"strings"
	"testing"
)

func TestCandidates(t *testing.T) {
	for _, c := range []struct{ name, ranges, latest, want string }{
		{"gateway and broadcast", `{"subnet": "10.0.0.0/29"}`, "", "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6"},
		{"IPv6 has no broadcast", `{"subnet": "fd00::/125"}`, "", "fd00::2 fd00::3 fd00::4 fd00::5 fd00::6 fd00::7"},
		{"after the latest", `{"subnet": "10.0.0.0/29"}`, "10.0.0.4", "10.0.0.5 10.0.0.6 10.0.0.2 10.0.0.3 10.0.0.4"},
		{"latest at the end", `{"subnet": "10.0.0.0/29"}`, "10.0.0.6", "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6"},
		{"latest outside the range", `{"subnet": "10.0.0.0/30"}`, "10.0.0.3", "10.0.0.2"},
		{"latest of the other family", `{"subnet": "10.0.0.0/30"}`, "::a00:2", "10.0.0.2"},
		{"gateway within", `{"subnet": "10.0.0.0/29", "gateway": "10.0.0.4", "rangeStart": "10.0.0.3", "rangeEnd": "10.0.0.7"}`, "10.0.0.3", "10.0.0.5 10.0.0.6 10.0.0.7 10.0.0.3"},
		{"several", `{"subnet": "10.0.0.0/30"}, {"subnet": "10.0.1.0/30", "gateway": "10.0.1.2"}`, "10.0.0.2", "10.0.1.1 10.0.0.2"},
		{"several, from the second", `{"subnet": "10.0.0.0/30"}, {"subnet": "10.0.1.0/30"}`, "10.0.1.1", "10.0.1.2 10.0.0.2"},
		{"over 32 bits", `{"subnet": "fd00::/64", "rangeStart": "fd00::ffff:ffff", "rangeEnd": "fd00::1:0:1"}`, "", "fd00::ffff:ffff fd00::1:0:0 fd00::1:0:1"},
		{"to the last of IPv4", `{"subnet": "255.255.255.252/30", "rangeEnd": "255.255.255.255"}`, "255.255.255.254", "255.255.255.255 255.255.255.254"},
		{"to the last of IPv6", `{"subnet": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126"}`, "", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"the gateway alone", `{"subnet": "10.0.0.0/24", "rangeEnd": "10.0.0.1"}`, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := Open([]byte(`{"name": "net", "ipam": {"ranges": [[`+c.ranges+`]]}}`), "")
			if err != nil {
				t.Fatal(err)
			}
			var latest netip.Addr
			if c.latest != "" {
				latest = netip.MustParseAddr(c.latest)
			}
			var got []string
			for a := range l.sets[0].candidates(latest) {
				got = append(got, a.String())
			}
			if got := strings.Join(got, " "); got != c.want {
				t.Errorf("candidates %s\nwant       %s", got, c.want)
			}
		})
	}
}
