package who

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// complete completes ADDRESS:PORT[/PROTOCOL]: the source addresses of the node's uplinks, or
// after a slash the protocols.
func complete(n *node.Node, c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	const noFiles = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 {
		return nil, noFiles
	}
	if place, _, ok := strings.Cut(typed, "/"); ok {
		var out []string
		for _, p := range report.Protocols() {
			if word := place + "/" + p; strings.HasPrefix(word, typed) {
				out = append(out, word)
			}
		}
		return out, noFiles
	}
	if err := n.Enter(c); err != nil {
		return nil, noFiles
	}
	all, err := node.Uplinks()
	if err != nil {
		return nil, noFiles
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
	return out, noFiles | cobra.ShellCompDirectiveNoSpace
}
