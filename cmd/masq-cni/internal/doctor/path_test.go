package doctor

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/golden"
)

// way returns the stations to a destination, changed by f.
func way(f func([]doctor.Station) []doctor.Station) *doctor.Path {
	all := []doctor.Station{
		{Kind: doctor.ContainerInterface, Name: "eth0", MTU: 1500, MSS: 1460},
		{Kind: doctor.HostLink, Name: "masq8c2f1e0a9b3d", MTU: 1500},
		{Kind: doctor.Rule, Name: "mss-clamp", Packets: new(uint64(2)), MSS: 1460},
		{Kind: doctor.OtherChain, Name: "inet filter forward", Detail: "accept", Packets: new(uint64(12))},
		{Kind: doctor.Rule, Name: "pod-egress", Detail: "source 10.88.0.2 becomes 192.0.2.1", Packets: new(uint64(1))},
		{Kind: doctor.UplinkInterface, Name: "ens3", MTU: 1500},
		{Kind: doctor.NextHop, Name: "192.0.2.254", MTU: 1500, RTT: 0.00031},
		{Kind: doctor.Hop, Name: "203.0.113.9", MTU: 1500, RTT: 0.0042},
		{Kind: doctor.Destination, Name: "198.51.100.2", MTU: 1500, RTT: 0.0179},
	}
	return &doctor.Path{Stations: f(all)}
}

// reports are a report for each kind of page.
func reports() map[string]doctor.Report {
	at := report.Time{Time: time.Date(2026, 7, 1, 3, 4, 5, 0, time.UTC)}
	target := &doctor.Target{Host: "www.example.org", Protocol: "tcp", Address: netip.MustParseAddrPort("198.51.100.2:443")}
	checks := []string{"forwarding-off", "foreign-drop", "plugin-missing", "path-mtu"}
	of := func(p *doctor.Path, found ...doctor.Finding) doctor.Report {
		r := doctor.Report{Verdict: "healthy: 4 checks, no finding", Healthy: len(found) == 0, Time: at, Pod: "shop/cart", Target: target, Findings: found, Checks: checks, Path: p}
		if len(found) > 0 {
			r.Verdict = "1 finding: " + found[0].String()
		}
		return r
	}
	drop := doctor.Finding{
		Check: "foreign-drop", Severity: report.SeverityError, Object: "chain forward of table inet filter", Message: "drops the packets of pod shop/cart",
		Evidence: []doctor.Evidence{{Source: "trace of the packet", Value: "inet filter forward: drop, rule handle 7"}, {Source: "nft list chain inet filter forward", Value: "type filter hook forward priority filter; policy drop;"}},
		Why:      "Packets of the pod do not leave the node. An accept of masq does not override a drop in another table.",
		Remedy:   doctor.Remedy{Text: "Accept the containers' addresses in that chain.", Commands: []string{"nft insert rule inet filter forward ip saddr 10.88.0.0/16 accept", "nft insert rule inet filter forward ip daddr 10.88.0.0/16 ct state established,related accept"}},
	}
	narrow := doctor.Finding{
		Check: "path-mtu", Severity: report.SeverityError, Object: "path to 198.51.100.2", Message: "passes packets of 212 bytes at most, and the MSS that is offered is 1460",
		Evidence: []doctor.Evidence{{Source: "probe with DF set", Value: "212 bytes pass, 213 bytes do not"}, {Source: "MSS in the SYN", Value: "1460"}},
		Why:      "Large packets vanish without an ICMP error, so that connections freeze after the handshake.",
		Remedy: doctor.Remedy{
			Text: "Lower the MSS for this destination.", Commands: []string{`masq-cni config set mssClamps '{"198.51.100.2/32": 172}'`},
			Fix: &doctor.Fix{Does: "lowers the MSS of connections to 198.51.100.2/32 to 172", Undo: []string{"masq-cni config unset mssClamps"}},
		},
	}
	many := way(func(s []doctor.Station) []doctor.Station {
		var hops []doctor.Station
		for i := range 21 {
			hops = append(hops, doctor.Station{Kind: doctor.Hop, Name: fmt.Sprintf("2001:db8:ffff:%x:a:b:c:d", i+1), MTU: 1500 - 20*i, RTT: 0.001 * float64(i*i+1)})
		}
		hops[20].Narrowest = true
		return append(append(s[:8:8], hops...), s[8])
	})
	hostile := way(func(s []doctor.Station) []doctor.Station {
		s[0].Name = `<script>alert(1)</script>`
		s[1].Name = "\x1b]0;title\x07\x1b[2J\u202eeth0"
		s[3].Name = "inet 防火墙 转发链" + strings.Repeat("很长的名字", 20)
		s[3].Detail = `"><img src=x onerror=alert(2)>` + strings.Repeat("x", 200)
		s[5].Name, s[5].Lost = "{{.}}&lt;", "</svg><script>alert(3)</script>\nnext line"
		s[7].Kind = "<b>kind</b>"
		return s
	})
	evil := doctor.Finding{
		Check: "foreign-drop", Severity: report.SeverityWarning, Object: "pod <script>alert(4)</script>/\x1b[31m", Message: "was refused: \u202e" + strings.Repeat("y", 300),
		Evidence: []doctor.Evidence{{Source: "</dt><script>", Value: "javascript:alert(5)"}}, Why: "名前が長い: " + strings.Repeat("漢字", 60),
		Remedy: doctor.Remedy{Text: "</style>", Commands: []string{"rm '<b>'\n\x1b[2J"}},
	}
	hostileReport := of(hostile, evil)
	hostileReport.Pod, hostileReport.Target = "<i>pod", &doctor.Target{Host: "<u>host", Protocol: "udp"}
	unknown := doctor.Report{Verdict: "no finding in 4 checks; not checked: 2", Healthy: true, Time: at, Checks: checks, NotChecked: []doctor.NotChecked{{Check: "plugin-missing", Reason: "/opt/cni/bin: no such directory"}, {Check: "plugin-older", Reason: "/opt/cni/bin: no such directory"}}}
	fixed := of(nil, narrow)
	fixed.Fixes = []doctor.AppliedFix{{Check: "path-mtu", Object: "path", Does: narrow.Remedy.Fix.Does, Undo: narrow.Remedy.Fix.Undo}, {Check: "x", Does: "restores rules", Error: "operation not permitted"}}
	return map[string]doctor.Report{
		"healthy": of(way(func(s []doctor.Station) []doctor.Station { return s })),
		"lost": of(way(func(s []doctor.Station) []doctor.Station {
			s[3].Detail, s[3].Lost = "policy drop", "rule 7 drops the packet: counter packets 3 drop"
			for i := 4; i < len(s); i++ {
				s[i].RTT, s[i].Packets, s[i].MTU = 0, nil, 0
			}
			return s
		}), drop),
		"narrow": of(way(func(s []doctor.Station) []doctor.Station {
			s[7].MTU, s[7].MSS, s[7].Narrowest = 212, 172, true
			s[7].Lost = "packets of more than 212 bytes vanish, and no ICMP error comes back"
			return s
		}), narrow),
		"many":        of(many),
		"hostile":     hostileReport,
		"not-checked": unknown,
		"fixed":       fixed,
	}
}

// TestPathText compares the path as text with golden files. No line has more than 80 cells, and
// colors do not change the text.
func TestPathText(t *testing.T) {
	for name, r := range reports() {
		if r.Path == nil {
			continue
		}
		var plain, colored bytes.Buffer
		if err := writePath(&plain, report.Style{}, r.Path); err != nil {
			t.Fatal(err)
		}
		golden.Compare(t, filepath.Join("testdata", "path-"+name+".txt"), plain.Bytes())
		for line := range strings.Lines(plain.String()) {
			line = strings.TrimSuffix(line, "\n")
			if n := report.Width(line); n > 80 || strings.HasSuffix(line, " ") {
				t.Errorf("%s: %d cells: %q", name, n, line)
			}
			if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%s: an unprintable character: %q", name, line)
			}
		}
		if err := writePath(&colored, report.Style{Color: true}, r.Path); err != nil {
			t.Fatal(err)
		}
		got := colored.String()
		for _, code := range []report.SGR{report.Bold, report.Dim, report.Red, "0"} {
			got = strings.ReplaceAll(got, "\x1b["+string(code)+"m", "")
		}
		if got != plain.String() || got == colored.String() {
			t.Errorf("%s: in colors:\n%s", name, colored.String())
		}
	}
	for _, p := range []*doctor.Path{nil, {}} {
		var b bytes.Buffer
		if err := writePath(&b, report.Style{}, p); err != nil || b.Len() > 0 {
			t.Errorf("without stations: %q, %v", b.String(), err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for seconds, want := range map[float64]string{0: "", 0.000012: "0.01 ms", 0.00031: "0.31 ms", 0.0179: "18 ms", 1.234: "1.2s"} {
		if got := roundTrip(seconds); got != want {
			t.Errorf("%v s: %q, want %q", seconds, got, want)
		}
	}
}
