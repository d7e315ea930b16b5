package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// completePods offers the pods and containers of the node. A name that a shell could
// not show as it is is left out.
func (n *node) completePods(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	const only = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 {
		return nil, only
	}
	if err := n.enter(c); err != nil {
		return nil, only
	}
	v, err := n.view()
	if err != nil {
		return nil, only
	}
	var out []string
	seen := map[string]bool{}
	offer := func(name, what string) {
		if strings.HasPrefix(name, typed) && name == report.Clean(name) && !seen[name] {
			seen[name] = true
			out = append(out, fmt.Sprintf("%s\t%s", name, report.Sentence(what)))
		}
	}
	for i := range v.owners.Len() {
		o := v.owners.At(i)
		if o.PodName != "" {
			offer(o.PodNamespace+"/"+o.PodName, "network "+o.Network)
		}
		// IDs say nothing to a person who has not begun to type one.
		if o.PodName == "" || typed != "" {
			offer(o.ContainerID, "network "+o.Network)
		}
	}
	return out, only
}
