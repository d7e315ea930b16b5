package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestLogOfTheDaemon: a repair is logged with the number and the kinds of its differences, a
// deleted table as a warning, and a SIGHUP.
func TestLogOfTheDaemon(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.attachNamed("ns", "p", w.masq())
	d := w.daemon("--log-format", "json")
	type entry struct {
		Level, Msg  string
		Differences int
		Kinds       map[string]int
		Found       []string
	}
	logged := func(which func(entry) bool) bool {
		t.Helper()
		for line := range strings.Lines(string(assert.Must(os.ReadFile(d.log))(t))) {
			var e entry
			if !strings.HasSuffix(line, "\n") {
				break
			}
			assert.NoError(t, json.Unmarshal([]byte(line), &e))
			if which(e) {
				return true
			}
		}
		return false
	}
	warned := func(e entry) bool {
		return e.Level == "WARN" && strings.HasPrefix(e.Msg, "table inet masq was missing")
	}
	// The control: a flushed chain is not a deleted table.
	w.nft("flush chain inet masq invalid")
	until(t, "the rules are restored", func() bool {
		return logged(func(e entry) bool {
			return e.Msg == "repaired" && e.Differences == 2 && e.Kinds["rule"] == 2 && len(e.Found) == 2
		})
	})
	if logged(warned) {
		t.Error("missing rules are logged as a missing table")
	}
	w.nft("delete table inet masq")
	until(t, "a deleted table is a warning", func() bool { return logged(warned) })
	sighup := func(e entry) bool { return e.Level == "INFO" && strings.HasPrefix(e.Msg, "SIGHUP received: ") }
	if logged(sighup) {
		t.Error("a SIGHUP is logged that was not sent")
	}
	assert.NoError(t, d.Process.Signal(syscall.SIGHUP))
	until(t, "the SIGHUP is logged", func() bool { return logged(sighup) })
	d.end()
}
