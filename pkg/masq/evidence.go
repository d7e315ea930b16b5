package masq

// Evidence holds kernel objects of a container that ADD found. When they no longer exist,
// the container was removed. Names of interfaces prove nothing: links are renamed, bridges
// are deleted and made again, and results of other plugins list interfaces that the node
// never had.
type Evidence struct {
	// Boot is the ID of the kernel's boot. No container outlives a boot.
	Boot string `json:"boot,omitempty"`
	// NetNS is the container's network namespace; nil if it could not be identified.
	NetNS *NetNS `json:"netns,omitempty"`
	// Links are the node's interfaces with the other end in that namespace: each exists as
	// long as the namespace, unless it is deleted before. A bridge, a parent of macvlan or an
	// uplink is not listed, since it proves nothing about one container.
	Links []HostLink `json:"links,omitempty"`
	// Node is the network namespace of the node; nil in records of earlier versions and
	// before Linux 6.18.
	Node *NodeNetNS `json:"node,omitempty"`
}

// NodeNetNS identifies the network namespace of a node, as the kernel's file handles of
// namespaces do (struct nsfs_file_handle of linux/nsfs.h).
type NodeNetNS struct {
	// ID is not reused before the next boot.
	ID uint64 `json:"id"`
	// Inode is the inode number of the namespace's file.
	Inode uint32 `json:"inode"`
}

// NetNS identifies a network namespace and the path of its file.
type NetNS struct {
	// Path is absolute. Its directories are not symbolic links.
	Path string `json:"path"`
	// Device and Inode identify the namespace's file. The kernel reuses the numbers of
	// a namespace that ended for a new one.
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	// ID is not reused before the next boot. 0 before Linux 6.18.
	ID uint64 `json:"id,omitempty"`
	// DirDevice and DirInode identify the directory of Path. A process for which Path
	// is in another directory, for example in a container, cannot conclude from a
	// missing path that the namespace was removed.
	DirDevice uint64 `json:"dirDevice,omitempty"`
	DirInode  uint64 `json:"dirInode,omitempty"`
	// PIDNS is the inode of the PID namespace that the number in a Path such as
	// /proc/123/ns/net belongs to; 0 for all other paths.
	PIDNS uint64 `json:"pidNS,omitempty"`
}

// HostLink is an interface of the node.
type HostLink struct {
	// Index stays the same when the interface is renamed. 0 if it is not known.
	Index int    `json:"index,omitempty"`
	Name  string `json:"name,omitempty"`
	// Alias and Group find the interface if its index has changed. An empty Alias finds none.
	Alias string `json:"alias,omitempty"`
	Group uint32 `json:"group,omitempty"`
}

// HostLink returns the host's end of the link that the plugin makes for an attachment.
func (a Attachment) HostLink(index int) HostLink {
	l := HostLink{Index: index, Name: a.HostName(), Alias: a.Identity(), Group: UncheckedGroup}
	if a.SpoofCheck {
		l.Group = CheckedGroup
	}
	return l
}

// IsManagedGroup reports whether links of a group are made by the plugin.
func IsManagedGroup(group uint32) bool { return group == CheckedGroup || group == UncheckedGroup }

// NetNSState is the state of a network namespace, as this process can determine it.
type NetNSState uint8

const (
	// NetNSUnknown says that this process cannot determine the state.
	NetNSUnknown NetNSState = iota
	// NetNSAlive says that the path leads to the namespace.
	NetNSAlive
	// NetNSRemoved says that the path does not exist or leads to another namespace.
	NetNSRemoved
)
