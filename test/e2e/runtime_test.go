package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/test/nstest"
	"github.com/masq-cni/masq-cni/test/pluginconf"
)

// keys are the keys of a plugin's configuration.
type keys = pluginconf.Keys

// world is a topology with a container runtime in its node.
type world struct {
	*nstest.Topology
	t   testing.TB
	lab *nstest.Lab
	dir string // state, leases and cache
	cni *libcni.CNIConfig
}

// newWorld makes a world and removes it after the test.
func newWorld(t testing.TB, u nstest.Uplink) *world {
	t.Helper()
	lab := nstest.New(t)
	topo, err := lab.Topology(u)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &world{
		Topology: topo, t: t, lab: lab, dir: dir,
		cni: libcni.NewCNIConfigWithCacheDir(pluginPath(t), filepath.Join(dir, "cache"), nil),
	}
}

// pluginPath returns the directories with the built plugin and its peers.
func pluginPath(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, name := range []string{"MASQ_BIN", "MASQ_PEERS"} {
		dir := os.Getenv(name)
		if dir == "" {
			t.Fatalf("%s is not set: run the tests by make test", name)
		}
		out = append(out, dir)
	}
	return out
}

// built returns the path of a program that the Makefile has built.
func built(name string) string { return filepath.Join(os.Getenv("MASQ_BIN"), name) }

// masq returns the configuration of the plugin in main mode, dual stack unless the uplink is
// too narrow for IPv6.
func (w *world) masq() keys {
	ranges := []any{[]any{keys{"subnet": "10.88.0.0/16"}}}
	if len(w.Plans()) == 2 {
		ranges = append(ranges, []any{keys{"subnet": "fd00:88::/64"}})
	}
	return keys{
		"type":     "masq",
		"ipam":     keys{"type": "host-local", "dataDir": filepath.Join(w.dir, "leases"), "ranges": ranges},
		"stateDir": filepath.Join(w.dir, "state"),
	}
}

// conflist makes a network of plugins.
func (w *world) conflist(version string, plugins ...keys) *libcni.NetworkConfigList {
	w.t.Helper()
	return w.namedConflist("net", version, plugins...)
}

func (w *world) namedConflist(name, version string, plugins ...keys) *libcni.NetworkConfigList {
	w.t.Helper()
	text, err := json.Marshal(keys{"cniVersion": version, "name": name, "plugins": plugins})
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := libcni.NetworkConfFromBytes(text)
	if err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
	return list
}

// pod is a container: a namespace and its attachment.
type pod struct {
	*nstest.NS
	w       *world
	runtime *libcni.RuntimeConf
	list    *libcni.NetworkConfigList
	result  *types100.Result
}

// pod makes a namespace that is not attached yet.
func (w *world) pod(id string) *pod {
	w.t.Helper()
	n, err := w.lab.Namespace(id)
	if err != nil {
		w.t.Fatal(err)
	}
	return &pod{NS: n, w: w, runtime: &libcni.RuntimeConf{ContainerID: id, NetNS: n.Path(), IfName: "eth0"}}
}

// pods makes n pods that are not attached yet: c0, c1 and so on.
func (w *world) pods(n int) []*pod {
	w.t.Helper()
	out := make([]*pod, n)
	for i := range out {
		out[i] = w.pod(fmt.Sprintf("c%d", i))
	}
	return out
}

// within calls f in the node's namespace, where a runtime runs plugins.
func (w *world) within(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return w.Node.Do(func() error { return f(ctx) })
}

func (p *pod) tryAdd(list *libcni.NetworkConfigList) error {
	return p.w.within(func(ctx context.Context) error {
		r, err := p.w.cni.AddNetworkList(ctx, list, p.runtime)
		if err != nil {
			return err
		}
		p.list = list
		p.result, err = types100.NewResultFromResult(r)
		return err
	})
}

func (p *pod) tryDel(list *libcni.NetworkConfigList) error {
	return p.w.within(func(ctx context.Context) error { return p.w.cni.DelNetworkList(ctx, list, p.runtime) })
}

func (p *pod) tryCheck(list *libcni.NetworkConfigList) error {
	return p.w.within(func(ctx context.Context) error { return p.w.cni.CheckNetworkList(ctx, list, p.runtime) })
}

// attach adds a pod, and deletes it after the test.
func (w *world) attach(id string, list *libcni.NetworkConfigList) *pod {
	w.t.Helper()
	p := w.pod(id)
	p.attach(list)
	return p
}

// attach adds the pod, whose runtime configuration may have been changed before.
func (p *pod) attach(list *libcni.NetworkConfigList) {
	p.w.t.Helper()
	if err := p.tryAdd(list); err != nil {
		p.w.t.Fatalf("ADD %s: %v", p.runtime.ContainerID, describe(err))
	}
	if list.Plugins[0].Network.Type != "masq" {
		// Other plugins do not wait for the duplicate address detection of the gateway's address.
		// Until it ends, the gateway does not answer, and connections of the pod fail after three seconds.
		until(p.w.t, "no address of the node is tentative", func() bool {
			return p.w.nodeRun("ip", "-6", "-oneline", "address", "show", "tentative") == ""
		})
	}
	p.w.t.Cleanup(func() {
		if p.list == nil {
			return
		}
		if err := p.tryDel(p.list); err != nil {
			p.w.t.Errorf("DEL %s: %v", p.runtime.ContainerID, describe(err))
		}
	})
}

// detach deletes the pod.
func (p *pod) detach() {
	p.w.t.Helper()
	if err := p.tryDel(p.list); err != nil {
		p.w.t.Fatalf("DEL %s: %v", p.runtime.ContainerID, describe(err))
	}
	p.list = nil
}

// describe returns a CNI error with its details.
func describe(err error) string {
	if e, ok := err.(*types.Error); ok { //nolint:errorlint // libcni wraps nothing
		return fmt.Sprintf("code %d: %s\n%s", e.Code, e.Msg, e.Details)
	}
	return err.Error()
}

// addr returns the pod's address of the family of like.
func (p *pod) addr(like netip.Addr) netip.Addr {
	p.w.t.Helper()
	for _, ip := range p.result.IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		if a = a.Unmap(); a.Is4() == like.Is4() {
			return a
		}
	}
	p.w.t.Fatalf("%s has no address of the family of %s", p.runtime.ContainerID, like)
	return netip.Addr{}
}

// nodeRun runs a program in the node's namespace and returns its output.
func (w *world) nodeRun(name string, args ...string) string {
	w.t.Helper()
	out, err := w.Node.Command(w.t.Context(), name, args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// traces returns everything that the plugin could leave in the node and on disk.
func (w *world) traces() string {
	w.t.Helper()
	var b strings.Builder
	b.WriteString(w.nodeRun("nft", "list", "ruleset"))
	links, err := w.Node.LinkNames()
	if err != nil {
		w.t.Fatal(err)
	}
	fmt.Fprintln(&b, links)
	b.WriteString(w.nodeRun("ip", "route"))
	b.WriteString(w.nodeRun("ip", "-6", "route"))
	for _, sub := range []string{"state", "leases"} {
		err := filepath.WalkDir(filepath.Join(w.dir, sub), func(path string, d os.DirEntry, err error) error {
			base := filepath.Base(path)
			// host-local keeps these two files.
			if err == nil && !d.IsDir() && base != "lock" && !strings.HasPrefix(base, "last_reserved_ip") {
				fmt.Fprintln(&b, path)
			}
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return b.String()
}

// soon returns a context for work that takes no time unless something is broken. A busy
// machine must not end it.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// briefly returns a context for waiting for something that must not happen.
func briefly(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
