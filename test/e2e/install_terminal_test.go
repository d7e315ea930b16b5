package e2e

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// TestInstallOnTerminal installs at a terminal, where the output says what was done, to
// which file, and what to do next. Elsewhere, and with --log, the output is log lines.
func TestInstallOnTerminal(t *testing.T) {
	i := newInstallation(t)
	i.write(i.podsText(1400))
	x := newScreen(t, 2000, 40) // a line has up to three paths, which may be long
	run := func(more ...string) (log string) {
		t.Helper()
		var stderr bytes.Buffer
		c := i.installing(soon(t), more...)
		c.Stderr = &stderr
		x.run(c)
		assert.NoError(t, c.Wait())
		return stderr.String()
	}
	shows := func(want ...string) {
		t.Helper()
		for _, w := range want {
			until(t, "the terminal shows "+w, func() bool { return strings.Contains(x.text(), w) })
		}
	}

	plugin, list := filepath.Join(i.bin, "masq"), filepath.Join(i.conf, podsFile)
	if log := run(); log != "" {
		t.Errorf("it logs\n%s", log)
	}
	shows("Installed the plugin masq ", " as "+plugin+".", "Inserted masq after the first plugin in "+list+".",
		"Next: start a container.", " inspect\n", " uninstall --bin-dir "+i.bin+" --conf-dir "+i.conf)
	if strings.Contains(x.text(), "level=") {
		t.Error("there are log lines on the terminal")
	}

	if log := run(); log != "" {
		t.Errorf("it logs\n%s", log)
	}
	shows("Nothing to change: the plugin in " + i.bin + " and the networks in " + i.conf)

	if log := run("--log", "--plugin-config", `{"mtu": 1400}`); !strings.Contains(log, `msg="entry of masq replaced"`) {
		t.Errorf("with --log it logs\n%s", log)
	}
	if log := run("--plugin-config", `{"mtu": 1300}`); log != "" {
		t.Errorf("it logs\n%s", log)
	}
	shows("Replaced the entry of masq in " + list + ".")
	// The terminal shows output in order, so the output of the third command is complete.
	if n := strings.Count(x.text(), "Replaced the entry"); n != 1 {
		t.Errorf("with --log there are sentences too:\n%s", x.text())
	}
}
