package main

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/natlog"
)

func TestMoments(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 3, 31, 16, 0, 0, 0, zone)
	at := func(s string) time.Time {
		x, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for text, want := range map[string]struct {
		from  string
		lasts time.Duration
	}{
		"2026-03-01T15:04:05Z":      {"2026-03-01T15:04:05Z", time.Second - time.Millisecond},
		"2026-03-01T15:04:05+01:00": {"2026-03-01T14:04:05Z", time.Second - time.Millisecond},
		"2026-03-01T15:04:05.000Z":  {"2026-03-01T15:04:05Z", time.Second - time.Millisecond},
		"2026-03-01 15:04:05":       {"2026-03-01T13:04:05Z", time.Second - time.Millisecond},
		"2026-03-01T15:04:05":       {"2026-03-01T13:04:05Z", time.Second - time.Millisecond},
		"2026-03-01 15:04":          {"2026-03-01T13:04:00Z", time.Minute - time.Millisecond},
		"15:04":                     {"2026-03-31T13:04:00Z", time.Minute - time.Millisecond},
		"15:04:05":                  {"2026-03-31T13:04:05Z", time.Second - time.Millisecond},
		"10m":                       {"2026-03-31T13:50:00Z", time.Second},
		"0s":                        {"2026-03-31T14:00:00Z", time.Second},
	} {
		from, until, err := parseMoment(text, now)
		if err != nil || !from.Equal(at(want.from)) || until.Sub(from) != want.lasts {
			t.Errorf("%s: %s to %s, %v", text, from, until, err)
		}
	}
	for _, text := range []string{"", "yesterday", "-10m", "25:04", "2026-02-30 15:04", "15"} {
		if from, _, err := parseMoment(text, now); err == nil || !strings.Contains(err.Error(), "--at: ") {
			t.Errorf("%q is %s, %v", text, from, err)
		}
	}
}

func TestWhoWas(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	w, err := natlog.Open(dir, natlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Date(2026, 3, 1, 15, 4, 0, 0, time.UTC)
	r := natlog.Record{
		Time: begun, Kind: natlog.Begin, Proto: 6,
		Owner:      natlog.Owner{Key: masq.Key{Network: "pods", ContainerID: "c0ffee", Interface: "eth0"}, Pod: masq.Pod{Namespace: "shop", Name: "we\x1bb"}},
		Original:   natlog.Tuple{Src: netip.MustParseAddrPort("10.88.0.2:1000"), Dst: netip.MustParseAddrPort("198.51.100.2:443")},
		Translated: natlog.Tuple{Src: netip.MustParseAddrPort("192.0.2.2:40000"), Dst: netip.MustParseAddrPort("198.51.100.2:443")},
	}
	end := r
	end.Kind, end.Time, end.Duration, end.Packets, end.Bytes = natlog.End, begun.Add(time.Minute), time.Minute, [2]uint64{3, 2}, [2]uint64{300, 200}
	for _, r := range []natlog.Record{r, end} {
		if err := w.Append(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	who := func(args ...string) (int, string, string) {
		return command(t, append([]string{"who", "--nat-log", dir}, args...)...)
	}
	code, out, diag := who("192.0.2.2:40000/tcp", "--at", "2026-03-01T15:04:30Z", "-o", "json")
	for _, want := range []string{
		`"containerID": "c0ffee"`, `"podNamespace": "shop"`, `"state": "closed"`, `"begin": "2026-03-01T15:04:00Z"`,
		`"end": "2026-03-01T15:05:00Z"`, `"duration": 60`, `"sourcePort": 40000`,
	} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("%d, without %s:\n%s%s", code, want, out, diag)
		}
	}
	if code, out, _ = who("192.0.2.2:40000", "--at", "2026-03-01T15:04:30Z"); code != 0 || !strings.Contains(out, "shop/we") || strings.Contains(out, "\x1b") {
		t.Errorf("%d\n%q", code, out)
	}
	for _, args := range [][]string{
		{"192.0.2.2:40001", "--at", "2026-03-01T15:04:30Z"},
		{"192.0.2.2:40000", "--at", "2026-03-01T15:06:30Z"},
		{"192.0.2.2:40000/udp", "--at", "2026-03-01T15:04:30Z"},
		{"192.0.2.2:40000", "--to", "198.51.100.3", "--at", "2026-03-01T15:04:30Z"},
	} {
		if code, out, diag := who(args...); code != 1 || !strings.Contains(out, "no flow left as") {
			t.Errorf("%q: %d\n%s%s", args, code, out, diag)
		}
	}
	if code, out, _ := who("192.0.2.2:40001", "--at", "2026-03-01T15:04:30Z", "-o", "json"); code != 1 || strings.TrimSpace(out) != "[]" {
		t.Errorf("%d\n%s", code, out)
	}
	for text, want := range map[string]string{
		"soon":                          `--at: "soon" is no time`,
		"1m --nat-log " + dir + "/none": "there is no NAT log at \"" + dir + "/none\"",
		"1m --nat-log=":                 `there is no NAT log at ""`,
		"1m --nat-log " + dir + "/lock": "--nat-log says which directory",
	} {
		args := append([]string{"192.0.2.2:40000", "--at"}, strings.Fields(text)...)
		if code, _, diag := who(args...); code != 2 || !strings.Contains(diag, want) {
			t.Errorf("%q: %d\n%s", args, code, diag)
		}
	}
}
