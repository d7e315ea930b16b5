package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var conflistOrder = Check{
	ID:       "conflist-order",
	Title:    "masq is at the wrong place of a network",
	Severity: report.SeverityError,
	Reads:    "the files of `--conf-dir`",
	Applies:  "the first network by name, and networks with attachments, if they have masq",
	Remedy:   "Move masq after the plugin that makes the link.",
	Cost:     Full,
	Run: func(_ context.Context, n *Node) (found []Finding, err error) {
		files, err := n.networks()
		if err != nil {
			return nil, err
		}
		used := firstValid(files)
		for i := range files {
			f := &files[i]
			if f != used && n.newest(f.Name) == nil {
				continue
			}
			message, remedy := wrongPlace(f.Plugins)
			if message == "" {
				continue
			}
			x := Finding{
				Severity: report.SeverityError, Object: "network configuration " + f.Path, Message: message,
				Why:    "Every ADD of the network fails, so that no container starts in it.",
				Remedy: Remedy{Text: remedy},
			}
			for j, p := range f.Plugins {
				value := p.Type
				if p.IPAM {
					value += ", with ipam"
				}
				x.Evidence = append(x.Evidence, Evidence{fmt.Sprintf("plugin %d of %s", j+1, f.Path), value})
			}
			found = append(found, x)
		}
		return found, nil
	},
}

// firstValid returns the network that runtimes use: the first by name that can be parsed. It
// is nil without one.
func firstValid(files []cnidir.NetworkFile) *cnidir.NetworkFile {
	i := slices.IndexFunc(files, func(f cnidir.NetworkFile) bool { return f.Fault == nil })
	if i < 0 {
		return nil
	}
	return &files[i]
}

// wrongPlace says why masq cannot work at its place among the plugins of a network, and what
// to do. message is empty if it can, or if there is no masq.
func wrongPlace(plugins []cnidir.NetworkPlugin) (message, remedy string) {
	at := slices.IndexFunc(plugins, func(p cnidir.NetworkPlugin) bool { return p.Type == cnidir.Plugin })
	if at < 0 {
		return "", ""
	}
	before := slices.IndexFunc(plugins[:at], func(p cnidir.NetworkPlugin) bool { return p.IPAM })
	after := slices.IndexFunc(plugins[at+1:], func(p cnidir.NetworkPlugin) bool { return p.IPAM })
	switch {
	case plugins[at].IPAM && before >= 0:
		return "gives masq ipam although " + report.Clean(plugins[before].Type) + " comes before it and makes the link",
			"Remove ipam from the entry of masq."
	case plugins[at].IPAM:
		return "", ""
	case before < 0 && after >= 0:
		t := report.Clean(plugins[at+1+after].Type)
		return "has masq before " + t + ", whose addresses it needs", "Move the entry of masq after the entry of " + t + "."
	case at == 0:
		return "has masq as its first plugin without ipam", "Move the entry of masq after the plugin that makes the link, or give it ipam so that masq makes the link."
	}
	return "", ""
}
