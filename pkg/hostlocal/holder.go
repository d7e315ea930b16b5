package hostlocal

import (
	"strings"

	"github.com/containernetworking/cni/pkg/utils"
)

// lineBreak separates the two lines of a lease on every operating system.
const lineBreak = "\r\n"

// holder is the attachment that holds a lease.
type holder struct{ containerID, ifname string }

// newHolder refuses names that CNI does not allow. An empty container ID would match the
// empty files of the directory.
func newHolder(containerID, ifname string) (holder, error) {
	if err := utils.ValidateContainerID(containerID); err != nil {
		return holder{}, err
	}
	if err := utils.ValidateInterfaceName(ifname); err != nil {
		return holder{}, err
	}
	return holder{containerID, ifname}, nil
}

// parseHolder reads a lease. A lease without interface was written by a host-local before
// 0.7. An empty lease has no holder.
func parseHolder(content string) holder {
	id, ifname, _ := strings.Cut(strings.TrimSpace(content), lineBreak)
	return holder{id, ifname}
}

// String is the content of the lease.
func (h holder) String() string { return h.containerID + lineBreak + h.ifname }

// old returns the holder as a host-local before 0.7 wrote it.
func (h holder) old() holder { return holder{containerID: h.containerID} }
