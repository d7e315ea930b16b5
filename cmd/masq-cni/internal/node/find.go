package node

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// maxNamed is the greatest number of pods and containers that an error names.
const maxNamed = 5

// Find returns the indices of the attachments of a pod or container. name is NAMESPACE/NAME,
// or NAME if only one pod has it, or the beginning of the container's ID.
func (s Snapshot) Find(name string) ([]int, error) {
	found := s.Owners.Match(name)
	if len(found) == 0 {
		return nil, fmt.Errorf("no attachment belongs to pod or container %s; give NAMESPACE/NAME, or the beginning of a container's ID, as masq-cni inspect pods -o wide shows them", masq.Quote(name))
	}
	var different []string
	for _, i := range found {
		o := s.Owners.At(i)
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
		return nil, fmt.Errorf("%s matches %s%s; give one of them in full", masq.Quote(name), strings.Join(different, ", "), more)
	}
	return found, nil
}

// CompletePods completes the name of a pod or the ID of a container. It omits names with
// characters that a shell would escape.
func (n *Node) CompletePods(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	const noFiles = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 {
		return nil, noFiles
	}
	if err := n.Enter(c); err != nil {
		return nil, noFiles
	}
	s, err := n.Snapshot()
	if err != nil {
		return nil, noFiles
	}
	var out []string
	seen := map[string]bool{}
	add := func(name, what string) {
		if strings.HasPrefix(name, typed) && name == report.Clean(name) && !seen[name] {
			seen[name] = true
			out = append(out, fmt.Sprintf("%s\t%s", name, report.CleanText(what)))
		}
	}
	for i := range s.Owners.Len() {
		o := s.Owners.At(i)
		if o.PodName != "" {
			add(o.PodNamespace+"/"+o.PodName, "network "+o.Network)
		}
		// Without a first character, complete IDs only of containers without a pod.
		if o.PodName == "" || typed != "" {
			add(o.ContainerID, "network "+o.Network)
		}
	}
	return out, noFiles
}
