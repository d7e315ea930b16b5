package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// masqOn returns a configuration of masq for a network with this subnet.
func (w *world) masqOn(subnet string) keys {
	ranges := []any{[]any{keys{"subnet": subnet}}}
	return w.masq().With(keys{"ipam": keys{"type": "host-local", "dataDir": filepath.Join(w.dir, "leases"), "ranges": ranges}})
}

// behind returns the configuration of masq in chained mode.
func (w *world) behind() keys { return w.masq().With(keys{"ipam": nil}) }

// linkByPTP returns the plugin that masq is chained to. It does not masquerade. It has no
// IPv6, with which it would wait two seconds for duplicate address detection.
func (w *world) linkByPTP() keys {
	return w.masqOn("10.88.0.0/16").With(keys{"type": "ptp", "stateDir": nil})
}

// linkByNobody returns a plugin that makes no link and only reports one, with the addresses
// of claimed.
func (w *world) linkByNobody() keys {
	w.t.Helper()
	w.withPlugin("claim", `
cat > /dev/null
case $CNI_COMMAND in
ADD) cat <<-END
	{"cniVersion": "1.1.0",
	 "interfaces": [{"name": "br0"}, {"name": "$CNI_IFNAME", "sandbox": "$CNI_NETNS"}],
	 "ips": [{"address": "10.77.0.5/24", "interface": 1}, {"address": "fd00:77::5/64", "interface": 1}]}
	END
esac
`)
	return keys{"type": "claim"}
}

// run runs a program in the container and returns its output.
func (p *pod) run(name string, args ...string) string {
	p.w.t.Helper()
	out, err := p.Command(soon(p.w.t), name, args...).CombinedOutput()
	if err != nil {
		p.w.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// seenAs has the container ping the server, and checks the source address at the far end.
func (w *world) seenAs(p *pod, plan nstest.Plan, want netip.Addr) {
	w.t.Helper()
	if got := w.source(p, plan); got != want {
		w.t.Errorf("%s is seen as %s instead of %s", p.runtime.ContainerID, got, want)
	}
}

// source returns the source address of a container's ping at the server. The server has no
// route to a container's own address.
func (w *world) source(p *pod, plan nstest.Plan) netip.Addr {
	w.t.Helper()
	seen := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return q.Dst == plan.Server && isPing(q) }))(w.t)
	defer seen.Close()
	ctx, cancel := context.WithCancel(soon(w.t))
	done := make(chan error, 1)
	go func() {
		r, err := p.Ping(ctx, plan.Server, nstest.PingOptions{})
		if err == nil && !r.Reply() {
			err = fmt.Errorf("answer %+v", r)
		}
		done <- err
	}()
	got, err := seen.WaitFor(ctx, isPing)
	if err != nil {
		w.t.Fatalf("no packet of %s arrived: %v", p.runtime.ContainerID, err)
	}
	if got.Src == plan.Node {
		assert.NoError(w.t, <-done)
	}
	cancel()
	return got.Src
}

// isPing reports whether p is an echo request.
func isPing(p nstest.Packet) bool {
	return p.Proto == unix.IPPROTO_ICMP && p.ICMPType == 8 || p.Proto == unix.IPPROTO_ICMPV6 && p.ICMPType == 128
}

// unchanged compares traces and prints the lines that differ.
func unchanged(t testing.TB, when, after, before string) {
	t.Helper()
	if after == before {
		return
	}
	a, b := strings.Split(after, "\n"), strings.Split(before, "\n")
	var out strings.Builder
	for _, side := range []struct {
		sign       string
		all, other []string
	}{{"+", a, b}, {"-", b, a}} {
		for _, line := range side.all {
			if !slices.Contains(side.other, line) {
				fmt.Fprintln(&out, side.sign, line)
			}
		}
	}
	t.Errorf("%s (+ unexpected, - missing):\n%s", when, out.String())
}

// removal is the state that a DEL meets.
type removal struct {
	netns  string // "there", "gone" or "unnamed"
	cached bool   // the runtime still has the result of ADD
	record string // whole, gone, damaged or newer
}

func (r removal) String() string {
	return fmt.Sprintf("netns %s, cached %t, record %s", r.netns, r.cached, r.record)
}

func removals() []removal {
	var out []removal
	for _, netns := range []string{"there", "gone", "unnamed"} {
		for _, cached := range []bool{true, false} {
			for _, record := range []string{"whole", "gone", "damaged", "newer"} {
				out = append(out, removal{netns, cached, record})
			}
		}
	}
	return out
}

// recordPath returns the file with the record of a container.
func (w *world) recordPath(id string) string {
	w.t.Helper()
	paths := assert.Must(filepath.Glob(filepath.Join(w.dir, "state", "attachments", "*.json")))(w.t)
	i := slices.IndexFunc(paths, func(path string) bool {
		return strings.Contains(string(assert.Must(os.ReadFile(path))(w.t)), fmt.Sprintf(`"containerID":%q`, id))
	})
	if i < 0 {
		w.t.Fatalf("no record of %s among %s", id, paths)
	}
	return paths[i]
}

// before creates the state that the DEL meets.
func (r removal) before(w *world, p *pod) {
	w.t.Helper()
	path := w.recordPath(p.runtime.ContainerID)
	switch r.record {
	case "gone":
		assert.NoError(w.t, os.Remove(path))
	case "damaged":
		whole := assert.Must(os.ReadFile(path))(w.t)
		assert.NoError(w.t, os.WriteFile(path, whole[:len(whole)/2], 0o600))
	case "newer":
		assert.NoError(w.t, os.WriteFile(path, []byte(`{"version": 1000, "network": {"of": "another shape"}, "addresses": {}}`), 0o600))
	}
	if !r.cached {
		assert.NoError(w.t, os.RemoveAll(filepath.Join(w.dir, "cache")))
	}
	switch r.netns {
	case "gone":
		assert.NoError(w.t, p.Close())
	case "unnamed":
		p.runtime.NetNS = ""
	}
}

// TestDelLeavesNothing: DEL removes everything that ADD made, whatever information is left,
// and succeeds a second time.
func TestDelLeavesNothing(t *testing.T) {
	for _, mode := range []struct {
		name    string
		plugins func(*world) []keys
		another bool // with another attachment on the node, which must stay
	}{
		{"alone", func(w *world) []keys {
			return []keys{w.masq().With(keys{"helpers": keys{"ftp": []int{21}}, "mssClamp": 1300})}
		}, false},
		{"with another", func(w *world) []keys {
			return []keys{w.masq().With(keys{"helpers": keys{"ftp": []int{21}}, "mssClamp": 1300})}
		}, true},
		{"without a policy", func(w *world) []keys { return []keys{w.masq().With(keys{"ipMasq": false})} }, true},
		{"behind ptp", func(w *world) []keys { return []keys{w.linkByPTP(), w.behind()} }, true},
		{"behind a claim", func(w *world) []keys { return []keys{w.linkByNobody(), w.behind()} }, false},
	} {
		t.Run(mode.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list := w.conflist("1.1.0", mode.plugins(w)...)
			if mode.another {
				w.attach("another", w.namedConflist("other", "1.1.0", w.masqOn("10.99.0.0/24")))
			}
			for i, r := range removals() {
				t.Run(r.String(), func(t *testing.T) {
					w := w.in(t)
					before := w.traces()
					p := w.pod(fmt.Sprintf("c%d", i))
					if err := p.tryAdd(list); err != nil {
						t.Fatal(describe(err))
					}
					// The control: ADD leaves traces.
					if during := w.traces(); during == before || r.record != "whole" && !strings.Contains(during, w.recordPath(p.runtime.ContainerID)) {
						t.Fatalf("ADD leaves no trace:\n%s", during)
					}
					r.before(w, p)
					for i := range 2 {
						if err := p.tryDel(list); err != nil {
							t.Errorf("DEL %d: %s", i+1, describe(err))
						}
						if mode.name == "behind ptp" && r.netns != "there" {
							assert.NoError(t, p.Close())
							// The kernel deletes the link of ptp asynchronously.
							until(w.t, "the link of ptp is deleted", func() bool { return w.traces() == before })
						}
						unchanged(t, fmt.Sprintf("remaining after DEL %d", i+1), w.traces(), before)
					}
					if r.netns == "unnamed" && mode.name != "behind ptp" {
						if links := assert.Must(p.LinkNames())(t); len(links) != 1 {
							t.Errorf("the container still has %v", links)
						}
					}
					assert.NoError(t, p.Close())
				})
			}
		})
	}
}

// TestDelDespiteTheConfiguration: DEL succeeds although the configuration has changed since
// ADD, or the runtime passes invalid arguments.
func TestDelDespiteTheConfiguration(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	before := w.traces()
	ipam := w.masq()["ipam"].(keys)
	for name, change := range map[string]func(*call){
		"no change":                 func(*call) {}, // control
		"unknown key of the policy": func(c *call) { c.conf = c.conf.With(keys{"nonMasqueradeCIDR": "10.0.0.0/8"}) },
		"range outside of its subnet": func(c *call) {
			c.conf = c.conf.With(keys{"ipam": ipam.With(keys{"ranges": []any{[]any{keys{"subnet": "10.88.0.0/24", "rangeStart": "10.89.0.1"}}}})})
		},
		"no ranges": func(c *call) { c.conf = c.conf.With(keys{"ipam": ipam.With(keys{"ranges": nil})}) },
		"another subnet": func(c *call) {
			c.conf = c.conf.With(keys{"ipam": ipam.With(keys{"ranges": []any{[]any{keys{"subnet": "10.44.0.0/24"}}}})})
		},
		"arguments that are no pairs": func(c *call) { c.args = "K8S_POD_NAME" },
		"address that is none":        func(c *call) { c.args = "IP=ten" },
		"unusable prevResult":         func(c *call) { c.conf = c.conf.With(keys{"prevResult": keys{"cniVersion": "1.1.0", "ips": "10"}}) },
		"prevResult of another": func(c *call) {
			c.conf = c.conf.With(keys{"prevResult": keys{"cniVersion": "1.1.0", "ips": []keys{{"address": "10.88.0.1/16"}}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			p := w.pod("c")
			add := call{verb: "ADD", id: "c", netns: p.Path(), conf: w.masq()}
			w.call(add).done(new(types100.Result))
			del := add
			del.verb = "DEL"
			change(&del)
			if r := w.call(del); r.exit != 0 {
				t.Errorf("DEL: %s", r.stdout)
			}
			unchanged(t, "remaining", w.traces(), before)
			add.verb = "DEL"
			w.call(add).done(nil)
			assert.NoError(t, p.Close())
		})
	}
}

// TestDelWithoutAdd: a runtime may call DEL without a preceding ADD.
func TestDelWithoutAdd(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.pod("never")
	before := w.traces()
	for _, plugins := range [][]keys{{w.masq()}, {w.linkByNobody(), w.behind()}} {
		assert.NoError(t, p.tryDel(w.conflist("1.1.0", plugins...)))
		unchanged(t, "remaining", w.traces(), before)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "state")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("DEL made the state directory: %v", err)
	}
}

// TestLongPodName: podman takes container names of any length.
func TestLongPodName(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.pod("long")
	c := call{verb: "ADD", id: "long", netns: p.Path(), conf: w.masq(), args: "IgnoreUnknown=1;K8S_POD_NAME=" + strings.Repeat("name-", 100)}
	w.call(c).done(new(types100.Result))
	if text := string(assert.Must(os.ReadFile(w.recordPath("long")))(t)); !strings.Contains(text, `"podName":"`+strings.Repeat("name-", 50)+`nam"`) {
		t.Errorf("record: %s", text)
	}
	c.verb = "DEL"
	w.call(c).done(nil)
}

// TestSecondAdd: a second ADD without a DEL between is an error of the runtime. It fails
// and does not harm the container.
func TestSecondAdd(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	a := w.attach("a", list)
	before := w.traces()
	err := (&pod{NS: a.NS, w: w, runtime: a.runtime}).tryAdd(list)
	if e := new(types.Error); !errors.As(err, &e) || !strings.Contains(e.Msg, "net/a/eth0") {
		t.Errorf("the second ADD: %v", err)
	}
	unchanged(t, "after a second ADD", w.traces(), before)
	for _, p := range w.Plans() {
		w.seenAs(a, p, p.Node)
	}
	assert.NoError(t, a.tryCheck(list))
}

// TestSecondAddElsewhere: an ADD with the same container ID and another namespace fails
// too, while the first namespace exists.
func TestSecondAddElsewhere(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	a := w.attach("a", list)
	before := w.traces()
	other := w.pod("other")
	other.runtime.ContainerID = "a"
	if err := other.tryAdd(list); err == nil {
		t.Error("a second ADD succeeds")
	}
	unchanged(t, "after a second ADD", w.traces(), before)
	w.seenAs(a, w.V4, w.V4.Node)
	// The first container ended with its namespace and DEL was never called, for example
	// because the machine crashed. The ID may be used again.
	assert.NoError(t, a.Close())
	until(w.t, "the link of the ended container is deleted", func() bool { return len(assert.Must(w.Node.LinkNames())(t)) == 2 })
	if err := other.tryAdd(list); err != nil {
		t.Fatal(describe(err))
	}
	w.seenAs(other, w.V4, w.V4.Node)
	assert.NoError(t, other.tryCheck(list))
	assert.NoError(t, other.tryDel(list))
	a.list = nil
}

// TestAddRefuses: an ADD that meets an obstacle fails, names it, and undoes what it has begun.
func TestAddRefuses(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	claim := keys{
		"cniVersion": "1.1.0",
		"interfaces": []keys{{"name": "eth0", "sandbox": "/x"}},
		"ips":        []keys{{"address": "10.77.0.5/24", "interface": 0}},
	}
	file := filepath.Join(w.dir, "file")
	assert.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		name    string
		main    bool
		netns   string // the container's if empty
		prepare []string
		names   string
	}{
		{name: "the node's own namespace", main: true, netns: w.Node.Path(), names: w.Node.Path()},
		{name: "a namespace that is not there", main: true, netns: "/run/netns/nobody", names: "/run/netns/nobody"},
		{name: "a file that is no namespace", main: true, netns: file, names: file},
		{name: "a name that is taken", main: true, prepare: []string{"ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"}, names: "eth0"},
		{name: "a default route that is there", main: true, prepare: []string{
			"sh", "-c", "ip link add v0 type veth peer name v1 && ip address add 10.1.0.1/24 dev v0 && ip link set v0 up && ip link set v1 up && ip route add default via 10.1.0.2",
		}, names: "default route"},
		{name: "the node's own namespace, chained", netns: w.Node.Path(), names: "netns"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			p := w.pod("refused")
			if len(c.prepare) > 0 {
				p.run(c.prepare[0], c.prepare[1:]...)
			}
			inside := func() string { return p.run("ip", "-o", "address") + p.run("ip", "route") + p.run("ip", "-6", "route") }
			container, before := inside(), w.traces()
			add := call{verb: "ADD", id: "refused", netns: c.netns, conf: w.masq()}
			if c.netns == "" {
				add.netns = p.Path()
			}
			if !c.main {
				claim["interfaces"].([]keys)[0]["sandbox"] = add.netns
				add.conf = w.behind().With(keys{"prevResult": claim})
			}
			r := w.call(add)
			var e types.Error
			r.object(&e)
			if r.exit != 1 || e.Msg == "" || !strings.Contains(e.Msg+e.Details, c.names) {
				t.Errorf("exit code %d: does not name %q: %s", r.exit, c.names, describe(&e))
			}
			unchanged(t, "remaining on the node", w.traces(), before)
			unchanged(t, "remaining in the container", inside(), container)
			// The control: ADD succeeds without the obstacle.
			fresh := w.pod("fresh")
			add.netns = fresh.Path()
			if !c.main {
				claim["interfaces"].([]keys)[0]["sandbox"] = add.netns
			}
			w.call(add).done(new(types100.Result))
			add.verb = "DEL"
			w.call(add).done(nil)
			assert.NoError(t, p.Close())
			assert.NoError(t, fresh.Close())
		})
	}
}

// statusOf and gcOf are verbs without a container.
func (w *world) statusOf(list *libcni.NetworkConfigList) func(context.Context) error {
	return func(ctx context.Context) error { return w.cni.GetStatusNetworkList(ctx, list) }
}

func (w *world) gcOf(list *libcni.NetworkConfigList, valid ...types.GCAttachment) func(context.Context) error {
	return func(ctx context.Context) error {
		return w.cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: valid})
	}
}
