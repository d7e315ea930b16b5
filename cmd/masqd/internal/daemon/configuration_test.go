package daemon

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

// TestInvalidFileAtStart checks what is active if the file is invalid at start: the defaults,
// or the configuration of the previous masqd. The command line overrides both.
func TestInvalidFileAtStart(t *testing.T) {
	given, previous := netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.1.0.0/16")
	ports := []masq.PortRange{{First: 20000, Last: 29999}}
	var toPorts Override
	for _, l := range nodeconf.LegacyFlags() {
		if l.Name == "to-ports" {
			toPorts = Override{l, "20000-29999"}
		}
	}
	for _, c := range []struct {
		name      string
		sources   []netip.Prefix
		overrides []Override
		previous  *store.Node
		want      []netip.Prefix
		policy    bool
		ports     []masq.PortRange
		active    string
	}{
		{name: "no flags", active: "active=defaults"},
		{name: "sources", sources: []netip.Prefix{given}, want: []netip.Prefix{given}, policy: true, active: "active=defaults"},
		{name: "a flag of ip-masq-agent", overrides: []Override{toPorts}, policy: true, ports: ports, active: "active=defaults"},
		{
			name: "previous masqd", previous: &store.Node{Policy: masq.Policy{Node: true, ToPorts: ports}, Sources: []netip.Prefix{previous}},
			want: []netip.Prefix{previous}, policy: true, ports: ports, active: "configuration of the previous masqd",
		},
		{
			name: "previous masqd and sources", previous: &store.Node{Policy: masq.Policy{Node: true, ToPorts: ports}, Sources: []netip.Prefix{previous}},
			sources: []netip.Prefix{given}, want: []netip.Prefix{given}, policy: true, ports: ports, active: "configuration of the previous masqd",
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
			records, err := store.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			conf := &configuration{records: records, files: file, sources: c.sources, overrides: c.overrides, previous: c.previous, watcher: w, log: slog.New(slog.NewTextHandler(&out, nil))}
			if conf.read() {
				t.Error("an invalid file changed the active configuration")
			}
			n := conf.active()
			if n.Fault == "" || !n.Read.IsZero() {
				t.Errorf("an invalid file has no fault: %+v", n)
			}
			if !strings.Contains(out.String(), c.active) {
				t.Errorf("%q is not in the log:\n%s", c.active, out.String())
			}
			if !slices.Equal(n.Sources.Prefixes, c.want) {
				t.Errorf("sources: %v", n.Sources.Prefixes)
			}
			if (n.Policy != nil) != c.policy || n.Policy != nil && (!n.Policy.Node || !slices.Equal(n.Policy.ToPorts, c.ports) || !n.Policy.Equal(n.Sources.Policy)) {
				t.Errorf("policy: %+v", n.Policy)
			}
		})
	}
}

// Files are read when they have not changed for a moment, or have changed for too long.
func TestFirstChange(t *testing.T) {
	var f firstChange
	start := time.Now()
	for _, c := range []struct{ after, want time.Duration }{
		{0, quietTime}, {quietTime, quietTime}, {maxWait - quietTime, quietTime}, {maxWait - time.Millisecond, time.Millisecond}, {maxWait, 0},
	} {
		if got := f.delay(start.Add(c.after)); got != c.want {
			t.Errorf("%s after the first change: delay %s, want %s", c.after, got, c.want)
		}
	}
	f = firstChange{}
	if got := f.delay(start.Add(time.Hour)); got != quietTime {
		t.Errorf("after the files were read: delay %s, want %s", got, quietTime)
	}
}

// TestPolicyIsWrittenAgain checks that the next reading writes a policy that could not be
// written, although the configuration has not changed.
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
	c := &configuration{files: file, records: records, watcher: w, log: slog.New(slog.DiscardHandler)}
	if !c.read() || c.read() {
		t.Fatal("the configuration was not read, or changed without a change of the file")
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	if c.read() {
		t.Error("the active configuration changed")
	}
	if n, err := records.Node(); err != nil || n == nil || len(n.NonMasquerade) != 1 {
		t.Errorf("policy on disk: %+v, %v", n, err)
	}
}
