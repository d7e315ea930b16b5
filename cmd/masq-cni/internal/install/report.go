package install

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
)

// installReport receives what an install does.
type installReport interface {
	waitingForMasqd(url, why string)
	waitingForRanges(node, why string)
	installed(cnidir.Installed)
	changed(cnidir.Change)
	warning(string)
	// done is called once, after an install that succeeded; changed reports whether
	// anything was changed.
	done(i *install, changed bool)
}

// logReport writes log lines.
type logReport struct{ *slog.Logger }

func (l logReport) waitingForMasqd(url, why string) {
	l.Info("waiting for masqd to be ready", "url", url, "why", why)
}

func (l logReport) waitingForRanges(node, why string) {
	l.Info("waiting for the node's pod ranges", "node", node, "why", why)
}

func (l logReport) installed(p cnidir.Installed) {
	l.Info("plugin installed", "file", p.Path, "version", p.Version, "before", p.Before)
	if p.Unsure {
		l.Warn("which of the two versions is newer cannot be told", "file", p.Path, "version", p.Version, "before", p.Before)
	}
}

func (l logReport) changed(c cnidir.Change) {
	args := []any{"file", c.Path}
	if c.Note != "" {
		args = append(args, "note", c.Note)
	}
	l.Info(string(c.What), args...)
}

func (l logReport) warning(w string) { l.Warn("to look after", "warning", w) }

func (logReport) done(*install, bool) {}

// sentences writes for a person at a terminal: what was done, to which file, and what to
// do next.
type sentences struct{ w io.Writer }

func (s sentences) say(format string, args ...any) {
	_, _ = fmt.Fprintf(s.w, format+"\n", args...) // a closed terminal does not stop the install
}

func (s sentences) waitingForMasqd(url, why string) {
	s.say("Waiting for masqd to be ready at %s: %s.", url, why)
	s.say("Start masqd in another terminal; or press Ctrl-C and run install again with --ready-url '' to not wait.")
}

func (s sentences) waitingForRanges(node, why string) {
	s.say("Waiting for the pod ranges of node %s: %s.", node, why)
}

func (s sentences) installed(p cnidir.Installed) {
	if p.Before == "none" {
		s.say("Installed the plugin masq %s as %s.", p.Version, p.Path)
	} else {
		s.say("Replaced %s: it was %s and is now masq %s.", p.Path, p.Before, p.Version)
	}
	if p.Unsure {
		s.warning("which of the two versions is newer cannot be determined")
	}
}

func (s sentences) changed(c cnidir.Change) {
	switch c.What {
	case cnidir.Inserted:
		s.say("Inserted masq after the first plugin in %s.", c.Path)
	case cnidir.Replaced:
		s.say("Replaced the entry of masq in %s.", c.Path)
	case cnidir.ListWritten:
		s.say("Wrote %s: the network with masq, %s, which stays as it is.", c.Path, c.Note)
	case cnidir.NetworkWritten:
		s.say("Wrote %s: a network of which masq makes the links.", c.Path)
	case cnidir.ListRemoved:
		s.say("Removed %s, which an earlier install wrote.", c.Path)
	case cnidir.TakenOut:
		s.say("Removed masq from %s, which the runtime does not use.", c.Path)
	}
}

func (s sentences) warning(w string) { s.say("Warning: %s.", w) }

func (s sentences) done(i *install, changed bool) {
	if !changed {
		s.say("Nothing to change: the plugin in %s and the networks in %s are as asked for.", i.binDir, i.confDir)
		return
	}
	s.say("")
	s.say("Next: start a container. Containers that run already keep the network that they have.")
	s.say("To see what is masqueraded:   %s inspect", os.Args[0])
	if i.readyURL == "" {
		s.say("To have rules repaired:       run masqd on this node (docs/daemon.md)")
	}
	s.say("To undo this:                 %s uninstall --bin-dir %s --conf-dir %s", os.Args[0], filepath.Clean(i.binDir), filepath.Clean(i.confDir))
}
