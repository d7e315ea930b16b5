package report

import "strings"

// Match returns the indices of the attachments that a person means by a name: those
// of the pod "namespace/name", of the container with that ID, of pods of that name in
// whatever namespace, or of the containers whose ID begins so; the first of these that
// there are.
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
	for _, means := range []func(*Owner) bool{
		func(o *Owner) bool { return o.ContainerID == name }, // one ID may begin as another does
		func(o *Owner) bool { return o.PodName == name },
		func(o *Owner) bool { return strings.HasPrefix(o.ContainerID, name) },
	} {
		for i := range o.all {
			if means(&o.all[i]) {
				out = append(out, i)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}
