package install

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
)

// reporter reports the progress of an installation.
type reporter interface {
	waitingForMasqd(url, why string)
	waitingForRanges(node, why string)
	installed(cnidir.Installed)
	changed(cnidir.Change)
	warning(string)
	// done reports a successful installation, once. changed is true if it changed anything.
	done(i *install, changed bool)
}

// logReporter writes log lines.
type logReporter struct{ *slog.Logger }

func (l logReporter) waitingForMasqd(url, why string) {
	l.Info("waiting for masqd to be ready", "url", url, "why", why)
}

func (l logReporter) waitingForRanges(node, why string) {
	l.Info("waiting for the node's pod ranges", "node", node, "why", why)
}

func (l logReporter) installed(p cnidir.Installed) {
	l.Info("plugin installed", "file", p.Path, "version", p.Version, "before", cmp.Or(p.Before, "none"))
	if p.Incomparable {
		l.Warn("which of the two versions is newer cannot be determined", "file", p.Path, "version", p.Version, "before", p.Before)
	}
}

func (l logReporter) changed(c cnidir.Change) {
	args := []any{"file", c.Path}
	if c.Note != "" {
		args = append(args, "note", c.Note)
	}
	l.Info(string(c.Action), args...)
}

func (l logReporter) warning(w string) { l.Warn("the configuration needs attention", "warning", w) }

func (logReporter) done(*install, bool) {}

// textReporter writes sentences for a person at a terminal: what was done, to which file,
// and what to do next.
type textReporter struct{ w io.Writer }

func (r textReporter) line(format string, args ...any) {
	_, _ = fmt.Fprintf(r.w, format+"\n", args...) // a closed terminal does not end the installation
}

func (r textReporter) waitingForMasqd(url, why string) {
	r.line("Waiting for masqd to be ready at %s: %s.", url, why)
	r.line("Start masqd in another terminal; or press Ctrl-C and run install again with --ready-url '' to not wait.")
}

func (r textReporter) waitingForRanges(node, why string) {
	r.line("Waiting for the pod ranges of node %s: %s.", node, why)
}

func (r textReporter) installed(p cnidir.Installed) {
	if p.Before == "" {
		r.line("Installed the plugin masq %s as %s.", p.Version, p.Path)
	} else {
		r.line("Replaced %s: it was %s and is now masq %s.", p.Path, p.Before, p.Version)
	}
	if p.Incomparable {
		r.warning("which of the two versions is newer cannot be determined")
	}
}

func (r textReporter) changed(c cnidir.Change) {
	switch c.Action {
	case cnidir.Inserted:
		r.line("Inserted masq after the first plugin in %s.", c.Path)
	case cnidir.Replaced:
		r.line("Replaced the entry of masq in %s.", c.Path)
	case cnidir.ListWritten:
		r.line("Wrote %s: the network with masq, %s, which does not change.", c.Path, c.Note)
	case cnidir.NetworkWritten:
		r.line("Wrote %s: a network whose links masq makes.", c.Path)
	case cnidir.ListRemoved:
		r.line("Removed %s, which an earlier install wrote.", c.Path)
	case cnidir.EntryRemoved:
		r.line("Removed masq from %s, which the runtime does not use.", c.Path)
	}
}

func (r textReporter) warning(w string) { r.line("Warning: %s.", w) }

func (r textReporter) done(i *install, changed bool) {
	if !changed {
		r.line("Nothing to change: the plugin in %s and the networks in %s are up to date.", i.binDir, i.confDir)
		return
	}
	r.line("")
	r.line("Next: start a container. Running containers keep their networks.")
	r.line("To see what is masqueraded:   %s inspect", os.Args[0])
	if i.readyURL == "" {
		r.line("To have rules repaired:       run masqd on this node (docs/daemon.md)")
	}
	r.line("To undo this:                 %s uninstall --bin-dir %s --conf-dir %s", os.Args[0], filepath.Clean(i.binDir), filepath.Clean(i.confDir))
}
