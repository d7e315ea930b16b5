package kube

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

//go:embed host.sh
var hostScript string

// host is a machine with its own processes, mounts and disk.
type host struct {
	*nstest.NS
	r     *room
	name  string
	addrs []netip.Addr

	first *nstest.Command
	pid   int // ID of the first process
}

func (r *room) host(t testing.TB, name string, own []netip.Addr) *host {
	t.Helper()
	h := &host{r: r, name: name, addrs: own}
	h.on(t)
	return h
}

// on starts the machine with only the content of its disk.
func (h *host) on(t testing.TB) {
	t.Helper()
	h.NS = h.r.machine(t, h.name, h.addrs)
	script := filepath.Join(h.r.dir, "host.sh")
	assert.NoError(t, os.WriteFile(script, []byte(hostScript), 0o644))
	h.first, h.pid = h.r.hold(t, h.NS, h.name, "nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", h.r.keep),
		"unshare", "--mount", "--propagation", "slave", "--uts", "--pid", "--fork", "--kill-child",
		"bash", script, h.name, filepath.Join(h.r.disks, h.name))
}

// off takes the machine's power.
func (h *host) off(t testing.TB) {
	t.Helper()
	_ = h.first.Cancel()
	_ = h.first.Wait() // it was killed
	assert.NoError(t, h.Close())
	// The kernel deletes the links of a deleted namespace asynchronously.
	_ = h.r.lan.RemoveLink(h.name)
	_ = h.r.router.RemoveLink(h.name)
}

// command returns a command that runs on the host.
func (h *host) command(ctx context.Context, name string, args ...string) *nstest.Command {
	enter := []string{"--target", fmt.Sprint(h.pid), "--mount", "--uts", "--pid", "--", name}
	return h.Command(ctx, "nsenter", append(enter, args...)...)
}

// output returns the output of a program that must succeed.
func (h *host) output(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := h.command(soon(t), name, args...).Output()
	if err != nil {
		t.Fatalf("%s: %s %q: %v", h.name, name, args, err)
	}
	return string(out)
}

// start runs a program until the host ends, with its output in a log.
func (h *host) start(t testing.TB, name string, args ...string) {
	t.Helper()
	c := h.command(context.WithoutCancel(h.r.t.Context()), name, args...)
	if name == "env" {
		name = args[1]
	}
	log := h.r.log(h.name + "-" + filepath.Base(name))
	c.Stdout, c.Stderr = log, log
	assert.NoError(t, c.Start())
}

// path returns the path of a host's file outside the host.
func (h *host) path(file string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", h.pid), file)
}
