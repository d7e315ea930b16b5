package masq

// Evidence is what ADD found in the kernel of a container. It tells later whether the
// container is gone: a name does not, since links are renamed, bridges are deleted and
// made again, and results of other plugins name interfaces that the node never had.
type Evidence struct {
	// Boot is the ID of the kernel's boot. Nothing of an earlier boot is left.
	Boot string `json:"boot,omitempty"`
	// NetNS is the container's network namespace; nil where it could not be
	// identified.
	NetNS *NetNS `json:"netns,omitempty"`
	// Links are the node's interfaces whose other end is in that namespace: each
	// exists for as long as the namespace, unless it is deleted before. A bridge, a
	// parent of macvlan or an uplink is none of them: it proves nothing about one
	// container.
	Links []HostLink `json:"links,omitempty"`
	// Node is the network namespace of the node; nil in records of earlier programs and
	// before Linux 6.18.
	Node *NodeNetNS `json:"node,omitempty"`
}

// NodeNetNS identifies the network namespace of a node, as the kernel's file handles of
// namespaces do (struct nsfs_file_handle of linux/nsfs.h).
type NodeNetNS struct {
	// ID is never given again before the next boot.
	ID uint64 `json:"id"`
	// Inode is the inode number of the namespace's file.
	Inode uint32 `json:"inode"`
}

// NetNS identifies a network namespace, and where it can be looked up.
type NetNS struct {
	// Path is absolute; all but its last element are free of symbolic links.
	Path string `json:"path"`
	// Device and Inode identify the namespace's file. The kernel reuses the numbers of
	// a namespace that ended for a new one.
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	// ID is never given again before the next boot. 0 before Linux 6.18.
	ID uint64 `json:"id,omitempty"`
	// DirDevice and DirInode identify the directory of Path. A process for which Path
	// is in another directory, for example in a container, cannot conclude from a
	// missing path that the namespace is gone.
	DirDevice uint64 `json:"dirDevice,omitempty"`
	DirInode  uint64 `json:"dirInode,omitempty"`
	// PIDNS is the inode of the PID namespace that the number in a Path such as
	// /proc/123/ns/net belongs to; 0 for all other paths.
	PIDNS uint64 `json:"pidNS,omitempty"`
}

// HostLink is an interface of the node.
type HostLink struct {
	// Index stays the same when the interface is renamed. 0 where it is not known.
	Index int    `json:"index,omitempty"`
	Name  string `json:"name,omitempty"`
	// Alias and Group find the interface where its index has changed. An empty Alias
	// finds none.
	Alias string `json:"alias,omitempty"`
	Group uint32 `json:"group,omitempty"`
}

// HostLink is the host's end of the link that the plugin makes for an attachment.
func (a Attachment) HostLink(index int) HostLink {
	l := HostLink{Index: index, Name: a.HostName(), Alias: a.Identity(), Group: UncheckedGroup}
	if a.SpoofCheck {
		l.Group = CheckedGroup
	}
	return l
}

// IsManagedGroup reports whether links of a group are made by the plugin.
func IsManagedGroup(group uint32) bool { return group == CheckedGroup || group == UncheckedGroup }

// NetNSState is the state of a network namespace, as far as this process can determine
// it.
type NetNSState uint8

const (
	// NetNSUnknown says that the namespace cannot be looked up here.
	NetNSUnknown NetNSState = iota
	// NetNSAlive says that the path leads to the namespace.
	NetNSAlive
	// NetNSRemoved says that the path is gone, or leads to another namespace.
	NetNSRemoved
)
