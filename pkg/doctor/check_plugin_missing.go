package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// whyNoPlugin is the consequence of a plugin that does not start.
const whyNoPlugin = "The runtime cannot start containers in networks with masq, and cannot remove containers whose link masq made."

var pluginMissing = Check{
	ID:       "plugin-missing",
	Title:    "The plugin does not exist where the runtime searches for it",
	Severity: report.SeverityError,
	Reads:    "the directories in `CNI_PATH` of the newest attachment, or `--bin-dir`",
	Applies:  "nodes with attachments, or with a network configuration that names masq",
	Remedy:   "Run `masq-cni install`.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		p, err := n.plugin()
		if err != nil || p.needed == "" || p.path != "" {
			return nil, err
		}
		if len(p.visible) == 0 {
			return nil, p.notVisible()
		}
		f := Finding{
			Severity: report.SeverityError, Object: "plugin masq", Message: "does not exist in " + strings.Join(p.visible, ", ") + ", where the runtime searches for plugins",
			Why: whyNoPlugin,
			Remedy: Remedy{
				Text:     "Install the plugin again. masq-cni install also inserts masq into the first network of --conf-dir, if that lacks it.",
				Commands: []string{p.installCommand()},
			},
		}
		for _, dir := range p.visible {
			path := filepath.Join(dir, cnidir.Plugin)
			value := "not a regular file"
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				value = "no such file"
			}
			f.Evidence = append(f.Evidence, Evidence{path, value})
		}
		f.Evidence = append(f.Evidence, Evidence{p.source, strings.Join(p.dirs, string(os.PathListSeparator))}, Evidence{"in use by", p.needed})
		return []Finding{f}, nil
	},
}
