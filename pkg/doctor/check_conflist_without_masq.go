package doctor

import (
	"context"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var conflistWithoutMasq = Check{
	ID:       "conflist-without-masq",
	Title:    "A network lost masq: its new containers are not translated",
	Severity: report.SeverityError,
	Reads:    "the files of `--conf-dir`, records",
	Applies:  "networks with attachments that are older than the file",
	Remedy:   "Run `masq-cni install`.",
	Cost:     Full,
	Run: func(_ context.Context, n *Node) (found []Finding, err error) {
		files, err := n.networks()
		if err != nil {
			return nil, err
		}
		for i := range files {
			f := &files[i]
			if f.Fault != nil || runsMasq(f) || !n.olderThan(f.Name, f.Changed) {
				continue
			}
			if slices.ContainsFunc(files, func(x cnidir.NetworkFile) bool { return x.Name == f.Name && runsMasq(&x) }) {
				continue // another file has the network
			}
			r := n.newest(f.Name)
			found = append(found, Finding{
				Severity: report.SeverityError, Object: "network configuration " + f.Path,
				Message: "lacks masq, which its network had",
				Evidence: []Evidence{
					{"plugins of " + f.Path, pluginNames(f)},
					{"last change of " + f.Path, f.Changed.UTC().Format(timeFormat)},
					{"newest attachment of the network, " + r.Identity(), r.Created.UTC().Format(timeFormat)},
				},
				Why: "masq does not translate the traffic of new containers of the network.",
				Remedy: Remedy{
					Text:     "Insert masq again. If another program writes the file, keep masq-cni install --watch running, as the DaemonSet does.",
					Commands: []string{"masq-cni install --ready-url '' --bin-dir " + report.ShellQuote(n.binDir()) + " --conf-dir " + report.ShellQuote(n.confDir())},
				},
			})
		}
		return found, nil
	},
}
