package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// command runs masq-cni in a new network namespace, on a thread that ends with the command.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var (
		out, diag bytes.Buffer
		err       error
		done      = make(chan struct{})
	)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			code = run(args, &out, &diag)
		}
	}()
	<-done
	if err != nil {
		t.Fatalf("unshare: %v: this test needs root", err)
	}
	return code, out.String(), diag.String()
}

func namespace(t testing.TB, lab *nstest.Lab, name string) *nstest.NS {
	t.Helper()
	n, err := lab.Namespace(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEnterFaults(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	const remedy = "; give a name that `ip netns` lists, or a path such as /proc/PID/ns/net\n"
	for name, want := range map[string]string{
		"no-such-name":   `"no-such-name": there is no file /run/netns/no-such-name` + remedy,
		"1":              `"1": there is no file /run/netns/1` + remedy,
		"":               `"": not a name` + remedy,
		"..":             `"..": not a name` + remedy,
		"./no-such-file": `"./no-such-file": no such file` + remedy,
		file:             `"` + file + `": ` + file + ` is not a network namespace` + remedy,
		pipe:             `"` + pipe + `": ` + pipe + ` is not a network namespace` + remedy,
		dir:              `"` + dir + `": ` + dir + ` is not a network namespace` + remedy,
		file + "/x":      `"` + file + `/x": open ` + file + "/x: not a directory\n",
	} {
		code, out, diag := command(t, "uninstall", "--netns", name, "--state-dir", filepath.Join(dir, "state"))
		if code != 1 || out != "" || diag != "masq-cni: --netns "+want {
			t.Errorf("%q: %d\n%s%s", name, code, out, diag)
		}
	}
	code, _, diag := command(t, "uninstall", "--state-dir", "")
	if want := "masq-cni: --state-dir is empty; give a directory, or leave the flag out\n"; code != 1 || diag != want {
		t.Errorf("%d\n%s", code, diag)
	}
	code, _, diag = command(t, "inspect", "--chroot", filepath.Join(dir, "none"))
	if want := "masq-cni: --chroot \"" + filepath.Join(dir, "none") + "\": no such file or directory\n"; code == 0 || diag != want {
		t.Errorf("%d\n%s", code, diag)
	}
}

// nodes makes two nodes with a table and a record each, and one state directory.
func nodes(t *testing.T) (state string, a, b *nstest.NS) {
	t.Helper()
	lab := nstest.New(t)
	state = filepath.Join(t.TempDir(), "state")
	a, b = namespace(t, lab, "a"), namespace(t, lab, "b")
	for _, n := range []*nstest.NS{a, b} {
		err := n.Do(func() error {
			records, err := store.Open(state)
			if err != nil {
				return err
			}
			p := masq.Default()
			if err := records.PutNode(&store.Node{Policy: p}); err != nil {
				return err
			}
			key := masq.Key{Network: "net", ContainerID: "c", Interface: "eth0"}
			return records.Put(store.Record{Attachment: masq.Attachment{Key: key, Policy: &p}})
		})
		if err != nil {
			t.Fatal(err)
		}
		if out, err := n.Command(t.Context(), "nft", "add table inet masq; add table inet other").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return state, a, b
}

// holds returns what a node has of masq-cni: its tables, the number of records, and whether
// there is a policy.
func holds(t *testing.T, n *nstest.NS, state string) (tables string, records int, policy bool) {
	t.Helper()
	out, err := n.Command(t.Context(), "nft", "list", "tables").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	err = n.Do(func() error {
		r, err := store.Open(state)
		if err != nil {
			return err
		}
		all, err := r.All()
		if err != nil {
			return err
		}
		p, err := r.Node()
		records, policy = len(all), p != nil
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.ReplaceAll(string(out), "\n", "; ")), records, policy
}

func TestUninstallOneNode(t *testing.T) {
	state, a, b := nodes(t)
	lock, err := os.Create(filepath.Join(state, "attachments", "masqd.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	const removed = "removed: table inet masq, 1 record\n"
	if code, out, diag := command(t, "uninstall", "--netns", a.Name(), "--state-dir", state); code != 0 || out != removed {
		t.Fatalf("%d\n%s%s", code, out, diag)
	}
	if tables, records, policy := holds(t, a, state); tables != "table inet other;" || records != 0 || policy {
		t.Errorf("the node has %q, %d records, policy %t", tables, records, policy)
	}
	// The other node is unchanged.
	if tables, records, policy := holds(t, b, state); tables != "table inet masq; table inet other;" || records != 1 || !policy {
		t.Errorf("the other node has %q, %d records, policy %t", tables, records, policy)
	}
	if _, err := os.Stat(lock.Name()); err != nil {
		t.Errorf("the lock of a running masqd: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	// The flags may come before the command.
	if code, out, diag := command(t, "--netns", b.Path(), "--state-dir", state, "uninstall"); code != 0 || out != removed {
		t.Fatalf("%d\n%s%s", code, out, diag)
	}
	if tables, records, policy := holds(t, b, state); tables != "table inet other;" || records != 0 || policy {
		t.Errorf("the node has %q, %d records, policy %t", tables, records, policy)
	}
	if _, err := os.Stat(state); err == nil {
		t.Error("the state directory is still there")
	}
}

func TestDemoRefusesNodeFlags(t *testing.T) {
	ns := namespace(t, nstest.New(t), "node")
	for flag, value := range map[string]string{"netns": ns.Name(), "state-dir": t.TempDir()} {
		code, out, diag := command(t, "demo", "--"+flag, value)
		want := "masq-cni: --" + flag + ": the demo makes its own namespaces and records; leave the flag out\n"
		if code != 1 || out != "" || diag != want {
			t.Errorf("%d\n%s%s", code, out, diag)
		}
	}
}
