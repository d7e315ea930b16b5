package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/natlog"
)

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
		"soon":                              `--at: "soon" is not a time`,
		"1m --nat-log " + dir + "/none":     "there is no NAT log in \"" + dir + "/none\"",
		"1m --nat-log " + filepath.Dir(dir): "there is no NAT log in \"" + filepath.Dir(dir) + "\"; masqd writes one with --nat-log",
		"1m --nat-log=":                     `there is no NAT log in ""`,
		"1m --nat-log " + dir + "/lock":     "give the directory of the log with --nat-log",
	} {
		args := append([]string{"192.0.2.2:40000", "--at"}, strings.Fields(text)...)
		if code, _, diag := who(args...); code != 2 || !strings.Contains(diag, want) {
			t.Errorf("%q: %d\n%s", args, code, diag)
		}
	}
}

// logged writes a NAT log of these records, and returns its directory.
func logged(t *testing.T, all ...natlog.Record) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	w, err := natlog.Open(dir, natlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if err := w.Append(&all[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// flowOf returns the begin or the end of a flow that leaves with a port.
func flowOf(kind natlog.Kind, pod string, port uint16, at string) natlog.Record {
	when, err := time.Parse(time.RFC3339, "2026-03-01T"+at+"Z")
	if err != nil {
		panic(err)
	}
	server := netip.MustParseAddrPort("198.51.100.2:443")
	return natlog.Record{
		Time: when, Kind: kind, Proto: 6,
		Owner:      natlog.Owner{Key: masq.Key{Network: "pods", ContainerID: pod, Interface: "eth0"}, Pod: masq.Pod{Namespace: "shop", Name: pod}},
		Original:   natlog.Tuple{Src: netip.AddrPortFrom(netip.MustParseAddr("10.88.0.2"), port), Dst: server},
		Translated: natlog.Tuple{Src: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), port), Dst: server},
	}
}

// TestWhoWasAroundClockSteps sets the clock back an hour during one flow, and ahead two hours
// during another.
func TestWhoWasAroundClockSteps(t *testing.T) {
	dir := logged(t,
		flowOf(natlog.Begin, "before", 4000, "15:04:00"),
		flowOf(natlog.Begin, "other", 5000, "15:04:29"),
		flowOf(natlog.End, "other", 5000, "14:04:31"),
		flowOf(natlog.End, "before", 4000, "14:05:00"),
		flowOf(natlog.Begin, "between", 4000, "14:10:00"),
		flowOf(natlog.Begin, "other", 5000, "16:30:00"),
		flowOf(natlog.End, "between", 4000, "16:30:10"),
		flowOf(natlog.Begin, "after", 4000, "16:31:00"),
	)
	for at, want := range map[string]string{
		"14:04:20": "", "14:04:40": "before", "14:06:00": "", "14:10:00": "between", "16:30:05": "between", "16:30:30": "", "16:31:00": "after", "18:00:00": "after",
		// According to the log, the clock showed these times twice.
		"15:03:50": "between", "15:04:10": "before between", "15:05:00": "between",
	} {
		code, out, diag := command(t, "who", "--nat-log", dir, "--at", "2026-03-01T"+at+"Z", "192.0.2.2:4000/tcp")
		var found []string
		for _, pod := range []string{"before", "between", "after", "other"} {
			if strings.Contains(out, "\nshop/"+pod+" ") {
				found = append(found, pod)
			}
		}
		if got := strings.Join(found, " "); (code == 0) != (want != "") || got != want || diag != "" {
			t.Errorf("at %s: %d, %q, not %q\n%s%s", at, code, got, want, out, diag)
		}
	}
	if _, out, _ := command(t, "who", "--nat-log", dir, "--at", "2026-03-01T14:04:40Z", "192.0.2.2:4000", "-o", "json"); strings.Contains(out, `"duration"`) {
		t.Errorf("the duration across a clock step is not known:\n%s", out)
	}
}

// TestWhoWasNewerLog checks that a file of a later version is named, and that the rest of the
// log is searched.
func TestWhoWasNewerLog(t *testing.T) {
	dir := logged(t, flowOf(natlog.Begin, "pod", 4000, "15:04:00"))
	newer := filepath.Join(dir, "00000000000fffff.tail")
	if err := os.WriteFile(newer, []byte("masqnat\n\x09\x00\x00\x00\x00\x00\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(port string) (int, string, string) {
		return command(t, "who", "--nat-log", dir, "--at", "2026-03-01T15:05:00Z", "192.0.2.2:"+port)
	}
	const version = "log file of a newer version: 9"
	if code, out, diag := ask("4000"); code != 0 || !strings.Contains(out, "\nshop/pod ") || !strings.Contains(diag, "a part of the log cannot be read") ||
		!strings.Contains(diag, newer) || !strings.Contains(diag, version) {
		t.Errorf("%d\n%s%s", code, out, diag)
	}
	// A flow that is not found may be in the file of the later version.
	if code, out, diag := ask("4001"); code != 2 || out != "" || !strings.Contains(diag, version) {
		t.Errorf("%d\n%s%s", code, out, diag)
	}
}
