package doctor

import (
	"context"
	"fmt"
	"runtime"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var pluginOlder = Check{
	ID:       "plugin-older",
	Title:    "The plugin is older than masq-cni",
	Severity: report.SeverityWarning,
	Reads:    "the version that the plugin prints, after its build information shows that it is masq",
	Applies:  "nodes that need the plugin and have it, if both versions are releases",
	Remedy:   "Run `masq-cni install`.",
	Cost:     Full,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		p, err := n.installed()
		if p == nil || err != nil || n.Version == "" {
			return nil, err
		}
		// Other checks name a program that does not start.
		head, err := readHead(p.path)
		if err != nil {
			return nil, err
		}
		if _, wrong := foreignProgram(head, runtime.GOARCH); wrong != "" || p.info.Mode().Perm()&0o111 == 0 {
			return nil, nil
		}
		version, err := cnidir.PluginVersion(ctx, p.path)
		if err != nil {
			return nil, notChecked(err.Error())
		}
		if !cnidir.IsOlder(version, n.Version) {
			return nil, nil
		}
		return []Finding{{
			Severity: report.SeverityWarning, Object: "plugin " + p.path,
			Message:  fmt.Sprintf("has version %s, which is older than masq-cni %s", report.Clean(version), report.Clean(n.Version)),
			Evidence: []Evidence{{"version of " + p.path, version}, {"version of masq-cni", n.Version}},
			Why:      "New containers lack what the newer version does, and masqd and masq-cni expect what only a newer plugin records.",
			Remedy:   Remedy{Commands: []string{p.installCommand()}},
		}}, nil
	},
}
