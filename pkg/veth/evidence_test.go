package veth

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Evidence has the link with the other end in the container, found by any name, and no other
// interface of a result.
func TestEvidenceOf(t *testing.T) {
	node, c, other := newSpace(t), newSpace(t), newSpace(t)
	w := node.open()
	node.must(node.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cni0"}}))
	cable(node, "eth0", other, "far0") // an uplink with a container's name
	cable(node, "vethc", c, "eth0")
	for _, names := range [][]string{
		nil, {"eth0"}, {"cni0", "vethc"}, {"vlan7240c55beb"}, {"dummy7240c55beb0"}, {"", "a/b", "vethc", "vethc"},
	} {
		e, err := w.EvidenceOf(c.name, "eth0", names)
		if err != nil {
			t.Fatalf("%q: %v", names, err)
		}
		if len(e.Links) != 1 || e.Links[0] != (masq.HostLink{Index: node.link("vethc").Attrs().Index, Name: "vethc"}) {
			t.Errorf("%q: links %+v", names, e.Links)
		}
		if e.Boot == "" || e.NetNS == nil || NetNSState(*e.NetNS) != masq.NetNSAlive {
			t.Errorf("%q: %+v", names, e)
		}
	}
	// An interface without another end, as of ipvlan and SR-IOV.
	if e, err := w.EvidenceOf(newSpace(t).name, "eth0", []string{"eth0", "cni0"}); err != nil || len(e.Links) != 0 {
		t.Errorf("%+v, %v", e, err)
	}
	index := node.link("vethc").Attrs().Index
	if there, err := w.HasLink(index); err != nil || !there {
		t.Errorf("the link exists: %t, %v", there, err)
	}
	node.must(node.LinkDel(node.link("vethc")))
	if there, err := w.HasLink(index); err != nil || there {
		t.Errorf("the link exists: %t, %v", there, err)
	}
}

// bound makes a namespace that is mounted at a path until the returned function is called.
func bound(t *testing.T, path string) (unbind func()) {
	t.Helper()
	s := newSpace(t)
	s.must(os.WriteFile(path, nil, 0o600))
	s.must(unix.Mount(s.name, path, "", unix.MS_BIND, ""))
	is := true
	unbind = func() {
		if is {
			is = false
			s.must(unix.Unmount(path, unix.MNT_DETACH))
			s.must(os.Remove(path))
		}
	}
	t.Cleanup(unbind)
	return unbind
}

// identify is IdentifyNetNS of a path that leads to a namespace.
func identify(t *testing.T, path string) masq.NetNS {
	t.Helper()
	n, err := IdentifyNetNS(path)
	if err != nil {
		t.Fatal(err)
	}
	return *n
}

func want(t *testing.T, n masq.NetNS, state masq.NetNSState) {
	t.Helper()
	if got := NetNSState(n); got != state {
		t.Errorf("%+v: %d instead of %d", n, got, state)
	}
}

func TestNetNSState(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "netns")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "x")
	unbind := bound(t, path)
	n := identify(t, filepath.Join(link, "x"))
	if n.Path != path {
		t.Errorf("path %s", n.Path)
	}
	want(t, n, masq.NetNSAlive)

	// Another sees another directory of the same name, none, or one without mounts.
	hidden := n
	hidden.Path = filepath.Join(t.TempDir(), "x")
	want(t, hidden, masq.NetNSUnknown)
	hidden.Path = filepath.Join(dir, "none", "x")
	want(t, hidden, masq.NetNSUnknown)

	unbind()
	want(t, n, masq.NetNSRemoved)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, n, masq.NetNSUnknown)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}

	// The path leads to another namespace. With an ID, also where the kernel has given
	// the inode again.
	unbind = bound(t, path)
	want(t, n, masq.NetNSRemoved)
	again := identify(t, path)
	want(t, again, masq.NetNSAlive)
	if again.ID != 0 {
		again.ID--
		want(t, again, masq.NetNSRemoved)
	}
	unbind()
	if _, err := IdentifyNetNS(path); err == nil {
		t.Error("a path that leads nowhere was identified")
	}
	if _, err := IdentifyNetNS("/etc/passwd"); err == nil {
		t.Error("a plain file was identified")
	}
}

// A path of a process proves something only in the same PID namespace.
func TestNetNSStateOfProcess(t *testing.T) {
	n := identify(t, "/proc/self/ns/net")
	want(t, n, masq.NetNSAlive)
	dead := n
	dead.Path = "/proc/4194304/ns/net" // above the largest number that the kernel gives
	want(t, dead, masq.NetNSRemoved)
	dead.PIDNS++
	want(t, dead, masq.NetNSUnknown)
	dead.PIDNS = 0
	want(t, dead, masq.NetNSUnknown)
	other := n
	other.Inode++
	want(t, other, masq.NetNSRemoved)
}
