package report

import "strings"

// Match returns the indices of the attachments that a person means by a name: those
// of the pod "namespace/name", or else those of the containers whose ID begins so.
func (o *Owners) Match(name string) []int {
	var out []int
	if namespace, pod, ok := strings.Cut(name, "/"); ok {
		for i := range o.all {
			if o.all[i].PodName == pod && o.all[i].PodNamespace == namespace && pod != "" {
				out = append(out, i)
			}
		}
		return out
	}
	if name == "" {
		return nil
	}
	for i := range o.all { // one ID may begin as another does
		if o.all[i].ContainerID == name {
			out = append(out, i)
		}
	}
	if len(out) > 0 {
		return out
	}
	for i := range o.all {
		if strings.HasPrefix(o.all[i].ContainerID, name) {
			out = append(out, i)
		}
	}
	return out
}
