package cniconf

import (
	"encoding/json"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/conftree"
)

// validAttachments reads the list of attachments that GC must keep. The list has two
// spellings; if both are given, an attachment of either is kept. The result is nil
// without a list, and empty for an empty list.
func (r *reader) validAttachments() []types.GCAttachment {
	const remedy = "give a list such as [{\"containerID\": \"c1\", \"ifname\": \"eth0\"}]"
	var (
		out  []types.GCAttachment
		seen = map[types.GCAttachment]bool{}
	)
	for _, key := range []string{validAttachmentsKey, attachmentsKey} {
		v, given := r.top.Member(key)
		if !given {
			continue
		}
		if out == nil {
			out = []types.GCAttachment{}
		}
		if v.Kind == conftree.Null { // libcni writes an empty list as null
			continue
		}
		if v.Kind != conftree.List {
			r.WrongType(key, v, remedy)
			continue
		}
		for _, item := range v.Items {
			var a types.GCAttachment
			switch err := json.Unmarshal(item.Raw, &a); {
			case err != nil:
				r.Fault(item.Place, key, item.Show(), "is not an attachment", remedy)
			case a.ContainerID == "" || a.IfName == "":
				// Otherwise GC would remove a live container's attachment.
				r.Fault(item.Place, key, item.Show(), "lacks containerID or ifname", remedy)
			case !seen[a]:
				seen[a] = true
				out = append(out, a)
			}
		}
	}
	return out
}
