package kube

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/masq-cni/masq-cni/test/nstest"
)

//go:embed host.sh
var hostScript string

// host is a machine with processes, mounts and a disk of its own.
type host struct {
	*nstest.NS
	r     *room
	name  string
	addrs []netip.Addr

	first *nstest.Command
	pid   int // of the first process
}

func (r *room) host(t testing.TB, name string, own []netip.Addr) *host {
	t.Helper()
	h := &host{r: r, name: name, addrs: own}
	h.on(t)
	return h
}

// on starts the machine, with nothing but what is on its disk.
func (h *host) on(t testing.TB) {
	t.Helper()
	h.NS = h.r.machine(t, h.name, h.addrs)
	script := filepath.Join(h.r.dir, "host.sh")
	check(t, os.WriteFile(script, []byte(hostScript), 0o644))
	h.first, h.pid = h.r.hold(t, h.NS, h.name, "nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", h.r.keep),
		"unshare", "--mount", "--propagation", "slave", "--uts", "--pid", "--fork", "--kill-child",
		"bash", script, h.name, filepath.Join(h.r.disks, h.name))
}

// off takes its power away.
func (h *host) off(t testing.TB) {
	t.Helper()
	_ = h.first.Cancel()
	_ = h.first.Wait() // it was killed
	check(t, h.Close())
	// The kernel takes the links of a namespace that is gone in its own time.
	_ = h.r.lan.RemoveLink(h.name)
	_ = h.r.router.RemoveLink(h.name)
}

// command prepares a program that runs on the host.
func (h *host) command(ctx context.Context, name string, args ...string) *nstest.Command {
	enter := []string{"--target", fmt.Sprint(h.pid), "--mount", "--uts", "--pid", "--", name}
	return h.Command(ctx, "nsenter", append(enter, args...)...)
}

// output is what a program prints that works.
func (h *host) output(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := h.command(soon(t), name, args...).Output()
	if err != nil {
		t.Fatalf("%s: %s %q: %v", h.name, name, args, err)
	}
	return string(out)
}

// start has a program run for as long as the host, its words in a log.
func (h *host) start(t testing.TB, name string, args ...string) {
	t.Helper()
	c := h.command(context.WithoutCancel(h.r.t.Context()), name, args...)
	if name == "env" {
		name = args[1]
	}
	log := h.r.log(h.name + "-" + filepath.Base(name))
	c.Stdout, c.Stderr = log, log
	check(t, c.Start())
}

// path is where the test finds a file of the host.
func (h *host) path(file string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", h.pid), file)
}
