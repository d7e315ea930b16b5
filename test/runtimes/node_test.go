package runtimes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// node is the node of a topology, with private system directories for a runtime.
type node struct {
	*nstest.Topology
	t      testing.TB
	groups []string        // cgroups of the node
	holder *nstest.Command // unshare; its child is the node's first process
	path   string          // PATH in the node
}

// join enters the cgroups listed before --, and executes the command after it.
const join = `while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@"`

// prepare makes the node's directories and runs until its standard input ends, which happens
// when the test ends or is killed.
const prepare = `set -eu
for dir in /run /opt /var/lib /var/tmp; do mount -t tmpfs tmpfs $dir; done
cp -a /etc /var/lib/etc
mount --bind /var/lib/etc /etc
rm -rf /etc/cni
mkdir -p /run/netns /opt/cni/bin /etc/cni/net.d /etc/containerd /etc/containers
ln -s "$MASQ_PEERS"/* /opt/cni/bin
cp "$MASQ_BIN"/masq /opt/cni/bin
mount -t sysfs sysfs /sys
if grep -qv ^0: /proc/self/cgroup; then
	mount -t tmpfs tmpfs /sys/fs/cgroup
	while IFS=: read -r _ controllers _; do
		dir=/sys/fs/cgroup/${controllers#name=}
		case $controllers in
		'') mkdir $dir/unified && mount -t cgroup2 cgroup2 $dir/unified ;;
		name=*) mkdir $dir && mount -t cgroup -o none,$controllers cgroup $dir ;;
		*) mkdir $dir && mount -t cgroup -o $controllers cgroup $dir ;;
		esac
	done </proc/self/cgroup
else
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mount --make-rshared /
echo ready
read -r _ || true
`

// newNode makes a node and removes it after the test.
func newNode(t testing.TB) *node {
	t.Helper()
	lab := nstest.New(t) // it also removes what killed tests have left
	groups := cgroups(t)
	topo, err := lab.Topology(nstest.Uplink{})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Topology: topo, t: t, groups: groups, path: strings.Join([]string{built(t, "MASQ_BIN"), built(t, "MASQ_PEERS"), os.Getenv("PATH")}, ":")}
	n.holder = n.joined(context.WithoutCancel(t.Context()),
		"unshare", "--mount", "--pid", "--cgroup", "--fork", "--kill-child", "--propagation", "slave", "--mount-proc", "bash", "-c", prepare)
	n.holder.Stderr = os.Stderr
	out := assert.Must(n.holder.StdoutPipe())(t)
	in := assert.Must(n.holder.StdinPipe())(t)
	assert.NoError(t, n.holder.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = n.holder.Wait()
	})
	if _, err := fmt.Fscanf(out, "ready\n"); err != nil {
		t.Fatalf("prepare the node: %v", err)
	}
	return n
}

// file returns the path of a node's file outside the node.
func (n *node) file(name string) string {
	return filepath.Join("/proc", strconv.Itoa(n.holder.Process.Pid), "root", name)
}

func (n *node) write(name, text string) {
	n.t.Helper()
	assert.NoError(n.t, os.WriteFile(n.file(name), []byte(text), 0o644))
}

// shell returns a command that runs a command line in the node.
func (n *node) shell(ctx context.Context, line string) *nstest.Command {
	spaces := filepath.Join("/proc", strconv.Itoa(n.holder.Process.Pid), "ns")
	cmd := n.joined(ctx, "nsenter", "--mount="+spaces+"/mnt", "--pid="+spaces+"/pid_for_children", "--cgroup="+spaces+"/cgroup",
		"--wd=/", "--", "bash", "-c", line)
	cmd.Env = append(os.Environ(), "PATH="+n.path)
	return cmd
}

// joined returns a command in the node's cgroups and network namespace.
func (n *node) joined(ctx context.Context, args ...string) *nstest.Command {
	all := slices.Concat([]string{"-c", join, "join"}, n.groups, []string{"--"}, args)
	return n.Node.Command(ctx, "bash", all...)
}

// must runs a command line, which must succeed, and returns its output.
func (n *node) must(format string, args ...any) string {
	n.t.Helper()
	line := fmt.Sprintf(format, args...)
	out, err := n.shell(soon(n.t), line).Output()
	if err != nil {
		n.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// quoted quotes words for a shell.
func quoted(words []string) string {
	var b strings.Builder
	for _, w := range words {
		b.WriteString(" '" + w + "'")
	}
	return b.String()
}

// service is a program that runs in the node until it is stopped.
type service struct {
	*nstest.Command
	log string
}

// serve starts a command line, with its output in the log of its name.
func (n *node) serve(name, line string) *service {
	n.t.Helper()
	s := &service{Command: n.shell(context.WithoutCancel(n.t.Context()), "exec "+line), log: filepath.Join(n.t.TempDir(), name+".log")}
	log := assert.Must(os.Create(s.log))(n.t)
	defer log.Close()
	s.Stdout, s.Stderr = log, log
	assert.NoError(n.t, s.Start())
	n.t.Cleanup(func() {
		if n.t.Failed() {
			text, _ := os.ReadFile(s.log)
			n.t.Logf("%s said last:\n%s", name, text[max(0, len(text)-8192):])
		}
	})
	return s
}

// crash ends all processes at once, as a power failure does. Kernel state and /run are lost.
func (n *node) crash() {
	n.t.Helper()
	n.must("kill -KILL -1; nft flush ruleset; umount --recursive --lazy /run; mount -t tmpfs tmpfs /run; mount --make-shared /run; mkdir /run/netns")
}

// end sends the program a signal and waits until it has exited. nsenter, its parent, gets no
// signal.
func (s *service) end(t testing.TB, sig syscall.Signal) {
	t.Helper()
	pid := s.Process.Pid
	text := assert.Must(os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)))(t)
	child := assert.Must(strconv.Atoi(strings.TrimSpace(string(text))))(t)
	assert.NoError(t, syscall.Kill(child, sig))
	_ = s.Wait()
}

// soon returns a context for work that takes seconds even on a busy machine; its end fails
// the test.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// until waits for a condition.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	eventually(t, func() error {
		if holds() {
			return nil
		}
		return errors.New(what)
	})
}

// eventually calls try until it succeeds.
func eventually(t testing.TB, try func() error) {
	t.Helper()
	end := soon(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-end.Done():
			t.Fatalf("timeout after 30 s: %v", err)
		case <-tick.C:
		}
	}
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }
