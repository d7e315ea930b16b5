package daemon

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fsnotify/fsnotify"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestLocalClamps: local MSS clamps are active with a valid and with an invalid configuration,
// also for sourceCIDRs. A damaged file of them is logged once, and the last ones stay.
func TestLocalClamps(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config", "agent")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	configure := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	records, err := store.Open(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	p := netip.MustParsePrefix("198.51.100.0/24")
	clamp := func(mss uint16) {
		t.Helper()
		if err := records.UpdateMSSClamps(func(c masq.MSSClamps) error { c[p] = mss; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	var out bytes.Buffer
	c := &configuration{files: file, records: records, watcher: w, log: slog.New(slog.NewTextHandler(&out, nil))}
	reads := func(changed bool, mss uint16) {
		t.Helper()
		version := c.active().Version
		if got := c.read(); got != changed {
			t.Errorf("changed: %t", got)
		}
		n := c.active()
		if n.LocalMSSClamps[p] != mss || len(n.Sources.Prefixes) > 0 && n.Sources.Policy.LocalMSSClamps[p] != mss || (n.Version != version) != changed {
			t.Errorf("%+v, want MSS %d", n, mss)
		}
	}
	configure("sourceCIDRs: [10.244.0.0/16]\n")
	reads(true, 0)
	clamp(700)
	reads(true, 700)
	reads(false, 700)
	configure("mssClamp: 1\n")
	reads(false, 700)
	clamp(800)
	reads(true, 800)
	configure("sourceCIDRs: [10.244.0.0/16]\n")
	if c.read(); c.active().Fault != "" || c.active().LocalMSSClamps[p] != 800 {
		t.Errorf("%+v", c.active())
	}
	if err := os.WriteFile(records.MSSClampsPath(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	reads(false, 800)
	reads(false, 800)
	if n := strings.Count(out.String(), "local MSS clamps cannot be read"); n != 1 {
		t.Errorf("the fault is logged %d times:\n%s", n, out.String())
	}
	if err := records.DeleteMSSClamps(); err != nil {
		t.Fatal(err)
	}
	reads(true, 0)
	for path, want := range map[string]bool{
		file: true, filepath.Join(filepath.Dir(file), "..data"): true, records.MSSClampsPath(): true,
		filepath.Join(dir, "state", "node-1.json"): false,
	} {
		if c.concerns(path) != want {
			t.Errorf("%s: %t", path, !want)
		}
	}
}
