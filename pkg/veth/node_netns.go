package veth

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// ownNetNSPath is the path of the calling thread's network namespace.
const ownNetNSPath = "/proc/thread-self/ns/net"

// nsfsHandle is the type of a struct nsfs_file_handle: FILEID_NSFS of the kernel (fs/nsfs.c).
const nsfsHandle = 0xf1

// OwnNetNS returns the network namespace of the calling thread; nil before Linux 6.18.
func OwnNetNS() *masq.NodeNetNS {
	if n := handleOf(ownNetNSPath); n.ID != 0 {
		return &n
	}
	return nil
}

// handleOf reads the file handle of the namespace at a path. It returns the zero value
// before Linux 6.18, where namespaces have no file handles.
func handleOf(path string) masq.NodeNetNS {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if err != nil || h.Type() != nsfsHandle || h.Size() < 16 {
		return masq.NodeNetNS{}
	}
	b := h.Bytes()
	return masq.NodeNetNS{ID: binary.NativeEndian.Uint64(b), Inode: binary.NativeEndian.Uint32(b[12:])}
}

// NodeNetNSState returns whether a network namespace exists. The kernel returns the same
// error for a removed namespace and for one that the caller may not open. So the state is
// masq.NetNSUnknown for a process without CAP_SYS_ADMIN, outside the initial user or PID
// namespace, or that cannot open its own namespace by its handle.
func NodeNetNSState(n masq.NodeNetNS) masq.NetNSState {
	own := OwnNetNS()
	switch {
	case own == nil || n.ID == 0 || n.Inode == 0:
		return masq.NetNSUnknown
	case n == *own:
		return masq.NetNSAlive
	case !seesAllNamespaces() || openHandle(*own) != nil:
		return masq.NetNSUnknown
	}
	switch err := openHandle(n); {
	case err == nil:
		return masq.NetNSAlive
	case errors.Is(err, unix.ESTALE):
		return masq.NetNSRemoved
	}
	return masq.NetNSUnknown
}

// openHandle opens a network namespace by its file handle, and closes it.
func openHandle(n masq.NodeNetNS) error {
	at, err := os.Open(ownNetNSPath) // it can be any file of nsfs
	if err != nil {
		return err
	}
	defer func() { _ = at.Close() }()
	b := binary.NativeEndian.AppendUint64(nil, n.ID)
	b = binary.NativeEndian.AppendUint32(b, unix.CLONE_NEWNET)
	b = binary.NativeEndian.AppendUint32(b, n.Inode)
	fd, err := unix.OpenByHandleAt(int(at.Fd()), unix.NewFileHandle(nsfsHandle, b), unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// seesAllNamespaces reports whether the process may open every namespace by its handle.
func seesAllNamespaces() bool {
	const initialUser, initialPID = 0xeffffffd, 0xeffffffc // linux/nsfs.h
	for path, initial := range map[string]uint64{"/proc/self/ns/user": initialUser, "/proc/self/ns/pid": initialPID} {
		if f, err := fileOf(path); err != nil || f.inode != initial {
			return false
		}
	}
	var data [2]unix.CapUserData
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return unix.Capget(&head, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}
