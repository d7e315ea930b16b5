package report

import "strings"

// Match returns the indices of the attachments that match a name, or nil. A name
// "namespace/pod" matches that pod. Any other name matches the first of these that
// exist: the container with that ID, pods of that name in any namespace, or containers
// whose ID begins with it.
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
		func(o *Owner) bool { return o.ContainerID == name }, // before the prefix match: an ID may be the prefix of another
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
