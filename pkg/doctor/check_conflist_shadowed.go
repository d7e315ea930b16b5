package doctor

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

var conflistShadowed = Check{
	ID:       "conflist-shadowed",
	Title:    "Another network comes before the one with masq",
	Severity: report.SeverityError,
	Reads:    "the files of `--conf-dir`",
	Applies:  "networks with masq that `masq-cni install` wrote or that have pods, unless the first network is of a meta-plugin such as multus",
	Remedy:   "Move the other file away, or run `masq-cni install`.",
	Cost:     Full,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		files, err := n.networks()
		used := firstValid(files)
		if used == nil || err != nil || runsMasq(used) {
			return nil, err
		}
		for i := range files {
			f := &files[i]
			if f.Find() < 0 || delegates(used, f.Name) || n.newest(f.Name) != nil && !n.olderThan(f.Name, used.Changed) {
				continue
			}
			if !f.Made && !slices.ContainsFunc(n.AllRecords, func(r store.Record) bool { return r.Network == f.Name && r.Pod != (masq.Pod{}) }) {
				continue // podman finds a network by its name, in any order
			}
			return []Finding{{
				Severity: report.SeverityError, Object: "network configuration " + used.Path,
				Message: "lacks masq and comes before " + f.Path + " in the order of names, so that runtimes use it instead",
				Evidence: []Evidence{
					{"plugins of " + used.Path, pluginNames(used)},
					{"plugins of " + f.Path, pluginNames(f)},
					{"last change of " + used.Path, used.Changed.UTC().Format(timeFormat)},
				},
				Why: "New containers get the other network: masq does not translate their traffic.",
				Remedy: Remedy{
					Text:     "Move the first file away, if its network is not wanted. If it is, insert masq into it: masq-cni install --ready-url '' --conf-dir " + report.ShellQuote(n.confDir()) + ".",
					Commands: []string{"mv " + report.ShellQuote(used.Path) + " " + report.ShellQuote(used.Path+".disabled")},
				},
			}}, nil
		}
		return nil, nil
	},
}

// timeFormat is the format of times in evidence.
const timeFormat = "2006-01-02 15:04:05 MST"

// runsMasq reports whether masq is a plugin of the network, or of a network within it.
func runsMasq(f *cnidir.NetworkFile) bool { return f.Find() >= 0 || namesMasq.Match(f.Text) }

// delegates reports whether a network runs another network: it names the other one, or its
// plugin is a meta-plugin that reads the other files.
func delegates(f *cnidir.NetworkFile, network string) bool {
	return slices.ContainsFunc(f.Plugins, func(p cnidir.NetworkPlugin) bool {
		return strings.Contains(p.Type, "multus") || strings.Contains(p.Type, "genie")
	}) || f.Name != network && bytes.Contains(f.Text, []byte(`"`+network+`"`))
}

func pluginNames(f *cnidir.NetworkFile) string {
	var names []string
	for _, p := range f.Plugins {
		names = append(names, p.Type)
	}
	return strings.Join(names, ", ")
}
