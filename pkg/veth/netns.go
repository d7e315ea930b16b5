package veth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// BootID returns the ID of the kernel's boot.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// IdentifyNetNS returns the identity of the network namespace at a path.
func IdentifyNetNS(path string) (*masq.NetNS, error) {
	file, err := fileOf(path)
	if err != nil {
		return nil, fmt.Errorf("identify network namespace %s: %w", path, err)
	}
	if !file.isNamespace {
		return nil, fmt.Errorf("%s is not a namespace", path)
	}
	n := &masq.NetNS{Path: path, Device: file.device, Inode: file.inode, ID: namespaceID(path)}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("identify network namespace %s: %w", path, err)
	}
	n.Path = filepath.Join(dir, filepath.Base(path))
	if _, ok := processOf(n.Path); ok {
		n.PIDNS, err = ownPIDNamespace()
		return n, err
	}
	at, err := fileOf(dir)
	if err != nil {
		return nil, fmt.Errorf("identify network namespace %s: %w", path, err)
	}
	n.DirDevice, n.DirInode = at.device, at.inode
	return n, nil
}

// NetNSState returns the state of a network namespace, which it looks up at its path. A
// missing path proves that the namespace was removed only if this process sees the same
// directory, or the same processes, as ADD did: a daemon in a container may see others of
// the same name.
func NetNSState(n masq.NetNS) masq.NetNSState {
	file, err := fileOf(n.Path)
	other := err == nil && file.isNamespace
	if other && file.device == n.Device && file.inode == n.Inode {
		id := namespaceID(n.Path)
		if n.ID == 0 || id == 0 || id == n.ID {
			return masq.NetNSAlive
		}
	}
	if pid, ok := processOf(n.Path); ok {
		if own, err := ownPIDNamespace(); err != nil || own != n.PIDNS || n.PIDNS == 0 {
			return masq.NetNSUnknown
		}
		// By a signal, not by the path: /proc may hide processes of other users (hidepid).
		if other || errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return masq.NetNSRemoved
		}
		return masq.NetNSUnknown
	}
	dir, errDir := fileOf(filepath.Dir(n.Path))
	if errDir != nil || n.DirInode == 0 || dir.device != n.DirDevice || dir.inode != n.DirInode {
		return masq.NetNSUnknown
	}
	// If the mount on the file is not propagated to this mount namespace, the path is a
	// plain file.
	if other || errors.Is(err, fs.ErrNotExist) {
		return masq.NetNSRemoved
	}
	return masq.NetNSUnknown
}

// file identifies the file at a path.
type file struct {
	device, inode uint64
	isNamespace   bool
}

func fileOf(path string) (file, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return file{}, err
	}
	f := file{device: uint64(s.Dev), inode: s.Ino}
	if s.Mode&unix.S_IFMT != unix.S_IFREG {
		return f, nil
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(path, &fsys); err != nil {
		return file{}, err
	}
	f.isNamespace = int64(fsys.Type) == unix.NSFS_MAGIC
	return f, nil
}

// namespaceID returns the number of a namespace that no other namespace gets before the
// next boot; 0 before Linux 6.18, where namespaces have no file handles.
func namespaceID(path string) uint64 { return handleOf(path).ID }

// processOf returns the process ID in a path such as /proc/123/ns/net.
func processOf(path string) (pid int, ok bool) {
	rest, ok := strings.CutPrefix(path, "/proc/")
	if !ok {
		return 0, false
	}
	first, _, _ := strings.Cut(rest, "/")
	pid, err := strconv.Atoi(first)
	return pid, err == nil && pid > 0
}

func ownPIDNamespace() (uint64, error) {
	f, err := fileOf("/proc/self/ns/pid")
	if err != nil {
		return 0, fmt.Errorf("identify the PID namespace: %w", err)
	}
	return f.inode, nil
}
