package node

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// Find returns the indices of the attachments that a name means: a pod with its namespace
// or, where it is the only one of that name, without, or a container by the beginning of
// its ID.
func (v Snapshot) Find(name string) ([]int, error) {
	found := v.Owners.Match(name)
	if len(found) == 0 {
		return nil, fmt.Errorf("no attachment belongs to pod or container %s; give NAMESPACE/NAME, or the beginning of a container's ID, as masq-cni inspect pods -o wide shows them", masq.Quote(name))
	}
	var different []string
	for _, i := range found {
		o := v.Owners.At(i)
		what := "container " + report.Clean(o.ContainerID)
		if o.PodName != "" {
			what = report.Clean(o.Pod())
		}
		if !slices.Contains(different, what) {
			different = append(different, what)
		}
	}
	if len(different) > 1 {
		more := ""
		if n := len(different) - maxNamed; n > 0 {
			different, more = different[:maxNamed], fmt.Sprintf(" and %d more", n)
		}
		return nil, fmt.Errorf("%s may be %s%s; give one of them in full", masq.Quote(name), strings.Join(different, ", "), more)
	}
	return found, nil
}

// maxNamed is how many of the pods that a name may mean are named.
const maxNamed = 5

// CompletePods offers the pods and containers of the node. A name that a shell could
// not show as it is is left out.
func (n *Node) CompletePods(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	const only = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 {
		return nil, only
	}
	if err := n.Enter(c); err != nil {
		return nil, only
	}
	v, err := n.Snapshot()
	if err != nil {
		return nil, only
	}
	var out []string
	seen := map[string]bool{}
	offer := func(name, what string) {
		if strings.HasPrefix(name, typed) && name == report.Clean(name) && !seen[name] {
			seen[name] = true
			out = append(out, fmt.Sprintf("%s\t%s", name, report.CleanText(what)))
		}
	}
	for i := range v.Owners.Len() {
		o := v.Owners.At(i)
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
