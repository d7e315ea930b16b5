package cniconf

import (
	"encoding/json"

	"github.com/containernetworking/cni/pkg/types"
)

// validAttachments reads the list that comes with GC, in either spelling and,
// where both are there, from both: what one of them calls valid stays. It is
// nil where there is no list, and empty where the list is.
func (r *reader) validAttachments() []types.GCAttachment {
	const mend = "give a list such as [{\"containerID\": \"c1\", \"ifname\": \"eth0\"}]"
	var (
		out  []types.GCAttachment
		seen = map[types.GCAttachment]bool{}
	)
	for _, key := range []string{validAttachmentsKey, attachmentsKey} {
		raw, given := r.top.values[key]
		if !given {
			continue
		}
		if out == nil {
			out = []types.GCAttachment{}
		}
		if kindOf(raw) == isNull { // libcni writes an empty list so
			continue
		}
		list, ok := asList(raw)
		if !ok {
			r.wrongType(key, raw, mend)
			continue
		}
		for _, raw := range list {
			var a types.GCAttachment
			switch err := json.Unmarshal(raw, &a); {
			case err != nil:
				r.add(key, show(raw), "is not an attachment", mend)
			case a.ContainerID == "" || a.IfName == "":
				// Misread, it would have a living container cut off.
				r.add(key, show(raw), "lacks containerID or ifname", mend)
			case !seen[a]:
				seen[a] = true
				out = append(out, a)
			}
		}
	}
	return out
}
