package main

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nodeconf"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// A masqd that starts with a faulty file has what it has without one, or what an
// earlier one read; what the command line says counts in any case.
func TestFaultyFromTheStart(t *testing.T) {
	given, earlier := netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.1.0.0/16")
	ports := []masq.PortRange{{First: 20000, Last: 29999}}
	var toPorts override
	for _, l := range nodeconf.LegacyFlags() {
		if l.Name == "to-ports" {
			toPorts = override{l, "20000-29999"}
		}
	}
	for _, c := range []struct {
		name    string
		sources []netip.Prefix
		legacy  []override
		earlier *store.Node
		want    []netip.Prefix
		policy  bool
		ports   []masq.PortRange
		inForce string
	}{
		{name: "nothing given", inForce: "the defaults"},
		{name: "sources given", sources: []netip.Prefix{given}, want: []netip.Prefix{given}, policy: true, inForce: "the defaults"},
		{name: "a flag given", legacy: []override{toPorts}, policy: true, ports: ports, inForce: "the defaults"},
		{
			name: "an earlier masqd", earlier: &store.Node{Policy: masq.Policy{Node: true, ToPorts: ports}, Sources: []netip.Prefix{earlier}},
			want: []netip.Prefix{earlier}, policy: true, ports: ports, inForce: "what an earlier masqd read",
		},
		{
			name: "both", earlier: &store.Node{Policy: masq.Policy{Node: true, ToPorts: ports}, Sources: []netip.Prefix{earlier}},
			sources: []netip.Prefix{given}, want: []netip.Prefix{given}, policy: true, ports: ports, inForce: "what an earlier masqd read",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(file, []byte("nonMasqueradeCIDRs: [10.0.0.1/8]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			w, err := fsnotify.NewWatcher()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = w.Close() }()
			var out bytes.Buffer
			conf := &configuration{pattern: file, sources: c.sources, legacy: c.legacy, earlier: c.earlier, watcher: w, log: slog.New(slog.NewTextHandler(&out, nil))}
			if conf.read() {
				t.Error("a faulty file asks for something else")
			}
			n := conf.node()
			if n.Fault == "" || !n.Read.IsZero() {
				t.Errorf("it is said to be good: %+v", n)
			}
			if !strings.Contains(out.String(), c.inForce) {
				t.Errorf("the log is\n%s", out.String())
			}
			if !slices.Equal(n.Sources.Prefixes, c.want) {
				t.Errorf("the sources are %v", n.Sources.Prefixes)
			}
			if (n.Policy != nil) != c.policy || n.Policy != nil && (!n.Policy.Node || !slices.Equal(n.Policy.ToPorts, c.ports) || !n.Policy.Equal(n.Sources.Policy)) {
				t.Errorf("the policy is %+v", n.Policy)
			}
		})
	}
}

// Files that are being written are read when that has ended, or takes too long.
func TestUnread(t *testing.T) {
	var changes unread
	begun := time.Now()
	for _, c := range []struct{ after, want time.Duration }{
		{0, lull}, {lull, lull}, {unrest - lull, lull}, {unrest - time.Millisecond, time.Millisecond}, {unrest, 0},
	} {
		if got := changes.wait(begun.Add(c.after)); got != c.want {
			t.Errorf("%s after the first change: %s, not %s", c.after, got, c.want)
		}
	}
	changes = unread{}
	if got := changes.wait(begun.Add(time.Hour)); got != lull {
		t.Errorf("after they were read: %s", got)
	}
}

// A policy that could not be written is written at the next reading, though the
// configuration did not change.
func TestPolicyIsWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	file, state := filepath.Join(dir, "config"), filepath.Join(dir, "state")
	// A file in place of the directory stands for a full disk.
	for path, text := range map[string]string{file: "nonMasqueradeCIDRs: [10.0.0.0/8]\n", state: ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	records, err := store.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	c := &configuration{pattern: file, records: records, watcher: w, log: slog.New(slog.DiscardHandler)}
	if !c.read() || c.read() {
		t.Fatal("the configuration was not read, or changed")
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	if c.read() {
		t.Error("the configuration changed")
	}
	if n, err := records.Node(); err != nil || n == nil || len(n.NonMasquerade) != 1 {
		t.Errorf("%+v, %v", n, err)
	}
}
