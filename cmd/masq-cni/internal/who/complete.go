package who

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// complete offers the addresses that the node leaves with, and the protocols
// behind a port.
func complete(n *node.Node, c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	const only = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 {
		return nil, only
	}
	if place, _, ok := strings.Cut(typed, "/"); ok {
		var out []string
		for _, p := range report.Protocols() {
			if word := place + "/" + p; strings.HasPrefix(word, typed) {
				out = append(out, word)
			}
		}
		return out, only
	}
	if err := n.Enter(c); err != nil {
		return nil, only
	}
	all, err := node.Uplinks()
	if err != nil {
		return nil, only
	}
	var out []string
	for _, u := range all {
		word := u.Address.String() + ":"
		if u.Address.Is6() {
			word = "[" + u.Address.String() + "]:"
		}
		if strings.HasPrefix(word, typed) {
			out = append(out, word)
		}
	}
	return out, only | cobra.ShellCompDirectiveNoSpace
}
