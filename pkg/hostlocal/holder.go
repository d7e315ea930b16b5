package hostlocal

import (
	"strings"

	"github.com/containernetworking/cni/pkg/utils"
)

// lineBreak stands between the two lines of a lease, on every system.
const lineBreak = "\r\n"

// holder is the attachment that a lease is for.
type holder struct{ containerID, ifname string }

// newHolder refuses what CNI does not allow. An empty container ID would hold the
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

// parseHolder reads a lease. One without interface is of an old host-local, before
// 0.7, and an empty one of nobody.
func parseHolder(content string) holder {
	id, ifname, _ := strings.Cut(strings.TrimSpace(content), lineBreak)
	return holder{id, ifname}
}

// String is the content of the lease.
func (h holder) String() string { return h.containerID + lineBreak + h.ifname }

// old is the holder as an old host-local wrote it.
func (h holder) old() holder { return holder{containerID: h.containerID} }
