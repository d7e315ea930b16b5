package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// Codes of STATUS, from the specification of CNI 1.1.0.
const (
	cannotAdd  = 50
	someAreCut = 51
)

// TestStatusAgreesWithAdd: ADD succeeds if STATUS succeeds, and fails if STATUS fails.
func TestStatusAgreesWithAdd(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(w *world, conf keys)
		repair func(w *world, conf keys) // control
		names  string
	}{
		{
			name: "egress address of another node",
			change: func(_ *world, conf keys) {
				conf["snatAddresses"] = []string{"192.0.2.2", "192.0.2.99", "2001:db8:1::99"}
			},
			repair: func(w *world, _ keys) {
				w.nodeRun("ip", "address", "add", "192.0.2.99/24", "dev", "uplink")
				w.nodeRun("ip", "address", "add", "2001:db8:1::99/64", "dev", "uplink", "nodad")
				until(w.t, "the address is usable", func() bool { // the kernel completes it asynchronously
					return strings.Contains(w.nodeRun("ip", "-6", "route", "show", "table", "local"), "2001:db8:1::99")
				})
			},
			names: "192.0.2.99, 2001:db8:1::99",
		},
		{
			name:   "stateDir is a file",
			change: func(w *world, conf keys) { assert.NoError(w.t, os.WriteFile(conf["stateDir"].(string), nil, 0o600)) },
			repair: func(w *world, conf keys) { assert.NoError(w.t, os.Remove(conf["stateDir"].(string))) },
			names:  "stateDir",
		},
		{
			name:   "stateDir is a program",
			change: func(w *world, conf keys) { assert.NoError(w.t, os.WriteFile(conf["stateDir"].(string), nil, 0o755)) },
			repair: func(w *world, conf keys) { assert.NoError(w.t, os.Remove(conf["stateDir"].(string))) },
			names:  "stateDir",
		},
		{
			name: "stateDir is below a file",
			change: func(w *world, conf keys) {
				file := conf["stateDir"].(string)
				assert.NoError(w.t, os.WriteFile(file, nil, 0o600))
				conf["stateDir"] = filepath.Join(file, "below")
			},
			repair: func(w *world, conf keys) { assert.NoError(w.t, os.Remove(filepath.Dir(conf["stateDir"].(string)))) },
			names:  "stateDir",
		},
		{
			name: "no such IPAM plugin",
			change: func(_ *world, conf keys) {
				conf["ipam"] = keys{"type": "nobody"}
			},
			repair: func(w *world, conf keys) {
				conf["ipam"] = w.masq()["ipam"]
			},
			names: "nobody",
		},
		{
			name: "a range outside of its subnet",
			change: func(_ *world, conf keys) {
				conf["ipam"] = conf["ipam"].(keys).With(keys{"ranges": []any{[]any{keys{"subnet": "10.88.0.0/24", "rangeStart": "10.88.1.1"}}}})
			},
			repair: func(w *world, conf keys) {
				conf["ipam"] = w.masq()["ipam"]
			},
			names: "10.88.1.1",
		},
		{
			name: "leases cannot be written",
			change: func(w *world, _ keys) {
				file := filepath.Join(w.dir, "leases")
				assert.NoError(w.t, os.WriteFile(file, nil, 0o600))
			},
			repair: func(w *world, _ keys) { assert.NoError(w.t, os.Remove(filepath.Join(w.dir, "leases"))) },
			names:  "leases",
		},
		{
			name: "uplink too narrow for IPv6",
			change: func(w *world, _ keys) {
				w.nodeRun("ip", "route", "change", "default", "via", w.V4.Router.String(), "mtu", "1000")
			},
			repair: func(w *world, _ keys) { w.nodeRun("ip", "route", "change", "default", "via", w.V4.Router.String()) },
			names:  "1280",
		},
		{
			name: "the node's policy cannot be read",
			change: func(w *world, _ keys) {
				assert.NoError(w.t, os.MkdirAll(filepath.Join(w.dir, "state"), 0o755))
				assert.NoError(w.t, os.WriteFile(w.nodePolicyPath(), []byte("{"), 0o600))
			},
			repair: func(w *world, _ keys) { assert.NoError(w.t, os.Remove(w.nodePolicyPath())) },
			names:  "policy",
		},
		{
			name: "egress address of the node's policy is missing",
			change: func(w *world, _ keys) {
				assert.NoError(w.t, os.MkdirAll(filepath.Join(w.dir, "state"), 0o755))
				assert.NoError(w.t, os.WriteFile(w.nodePolicyPath(), []byte(`{"snatAddresses": ["192.0.2.99"], "dropInvalid": true}`), 0o600))
			},
			repair: func(w *world, _ keys) { assert.NoError(w.t, os.Remove(w.nodePolicyPath())) },
			names:  "192.0.2.99",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			p := w.pod("a")
			conf := w.masq()
			test.change(w, conf)
			// ADD may leave only what existed before. The state directory is checked elsewhere.
			before := w.traces()
			status := call{verb: "STATUS", conf: conf}
			e := w.call(status).refused(cannotAdd)
			if !strings.Contains(e.Msg+"\n"+e.Details, test.names) {
				t.Errorf("does not name %q: %s", test.names, describe(&e))
			}
			add := call{verb: "ADD", id: "a", netns: p.Path(), conf: conf}
			if r := w.call(add); r.exit == 0 {
				t.Error("ADD works")
			}
			unchanged(t, "left by STATUS or ADD", w.traces(), before)

			test.repair(w, conf)
			status.conf, add.conf = conf, conf
			w.call(status).done(nil)
			w.call(add).done(new(types100.Result))
			w.call(status).done(nil)
			add.verb = "DEL"
			w.call(add).done(nil)
			w.call(status).done(nil)
		})
	}
}

// nodePolicyPath returns the file to which masqd writes the node's policy.
func (w *world) nodePolicyPath() string {
	w.t.Helper()
	var cookie uint64
	assert.NoError(w.t, w.Node.Do(func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	}))
	return filepath.Join(w.dir, "state", fmt.Sprintf("node-%x.json", cookie))
}

// TestUnwritable: STATUS fails if a disk is read-only or full, and ADD changes nothing.
func TestUnwritable(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.pod("a")
	before := w.traces()
	const (
		ordinary = "rw" // control
		readOnly = "ro"
		noSpace  = "size=16k"
		noInodes = "nr_inodes=3"
	)
	for _, dir := range []string{"state", "leases"} {
		assert.NoError(t, os.MkdirAll(filepath.Join(w.dir, dir), 0o755))
		for verb, code := range map[string]uint{"STATUS": cannotAdd, "ADD": map[string]uint{"state": ofState, "leases": ofIPAM}[dir]} {
			for _, option := range []string{readOnly, noSpace, noInodes, ordinary} {
				c := call{verb: verb, id: "a", netns: p.Path(), conf: w.masq()}
				cmd := w.Node.Command(soon(t), "unshare", "-m", "sh", "-c", `
mount -t tmpfs -o "$1" none "$2"
case $1 in
size=*) cat /dev/zero > "$2/ballast" ;;
nr_inodes=*) touch "$2/1" "$2/2" "$2/3" "$2/4" ;;
esac 2> /dev/null
exec "$3"
`, "sh", option, filepath.Join(w.dir, dir), pluginProgram(t))
				cmd.Env, cmd.Stdin = c.env(w), strings.NewReader(string(c.stdin(t)))
				out, _ := cmd.Output()
				r := reply{t, cmd.ProcessState.ExitCode(), out, ""}
				if option == ordinary {
					if r.exit != 0 {
						t.Errorf("%s: %s: exit code %d: %s", dir, verb, r.exit, out)
					}
					c.verb = "DEL"
					w.call(c).done(nil)
					continue
				}
				if e := r.refused(code); !strings.Contains(e.Details, filepath.Join(w.dir, dir)) {
					t.Errorf("%s, %s: %s does not name it: %s", dir, option, verb, describe(&e))
				}
				unchanged(t, dir+", "+option+": left by "+verb, w.traces(), before)
			}
		}
	}
}

// TestDelOnFullDisk: /run is in memory, and may be full when a container is deleted.
func TestDelOnFullDisk(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	before := w.traces()
	state := filepath.Join(w.dir, "state")
	assert.NoError(t, os.Mkdir(state, 0o700))
	for _, full := range []bool{false, true} { // false is the control
		t.Run(fmt.Sprintf("full %t", full), func(t *testing.T) {
			w := w.in(t)
			c := call{verb: "ADD", id: "c", netns: w.pod("c").Path(), conf: w.masq()}
			stdin := filepath.Join(w.dir, "stdin")
			assert.NoError(t, os.WriteFile(stdin, c.stdin(t), 0o600))
			// The disk is visible to this shell alone, and is removed with it.
			cmd := w.Node.Command(soon(t), "unshare", "-m", "sh", "-ec", `
mount -t tmpfs -o size=64k none "$1"
"$2" < "$3" > "$3.out"
if "$4"; then
	cat /dev/zero > "$1/ballast" 2> /dev/null || true
	if echo more > "$1/attachments/more" 2> /dev/null; then echo "the disk is not full"; exit 9; fi
	rm -f "$1/attachments/more"
fi
CNI_COMMAND=DEL "$2" < "$3"
ls "$1/attachments"
`, "sh", state, pluginProgram(t), stdin, fmt.Sprint(full))
			cmd.Env = c.env(w)
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("DEL: %v: %s", err, out)
			}
			unchanged(t, "left behind", w.traces(), before)
			c.verb = "DEL"
			w.call(c).done(nil)
		})
	}
}

// TestStatusOfMissingRules: STATUS fails while live containers have no rules.
func TestStatusOfMissingRules(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	other := w.namedConflist("other", "1.1.0", w.masqOn("10.99.0.0/24").With(keys{"ipMasq": false}))
	assert.NoError(t, w.within(w.statusOf(list)))

	plain := w.attach("plain", other)
	assert.NoError(t, w.within(w.statusOf(list))) // no attachment needs rules
	a := w.attach("a", list)
	assert.NoError(t, w.within(w.statusOf(list)))
	w.seenAs(a, w.V4, w.V4.Node)

	w.nodeRun("nft", "delete", "table", "inet", "masq")
	w.seenAs(a, w.V4, a.addr(w.V4.Server))
	err := w.within(w.statusOf(list))
	if e, ok := err.(*types.Error); !ok || e.Code != someAreCut || !strings.Contains(e.Msg+e.Details, "net/a/eth0") || !strings.Contains(e.Details, "inet masq") { //nolint:errorlint // libcni wraps nothing
		t.Errorf("without the table: %v", err)
	}
	assert.NoError(t, w.within(w.statusOf(other))) // this network needs no rules

	// As the error says, the next ADD repairs the rules of all attachments.
	b := w.attach("b", list)
	assert.NoError(t, w.within(w.statusOf(list)))
	for _, p := range []*pod{a, b} {
		w.seenAs(p, w.V4, w.V4.Node)
		assert.NoError(t, p.tryCheck(list))
	}

	w.nodeRun("nft", "delete", "table", "inet", "masq")
	a.detach()
	b.detach()
	assert.NoError(t, w.within(w.statusOf(list))) // no attachment is left
	plain.detach()
}

// TestStatusOfDamagedRules: STATUS fails as long as damaged rules let containers leave
// untranslated.
func TestStatusOfDamagedRules(t *testing.T) {
	for _, test := range []struct {
		name, damage string
		names        string
	}{
		{"postrouting flushed", "flush chain inet masq postrouting", "postrouting"},
		{"a rule before ours", "insert rule inet masq postrouting accept", "postrouting"},
		{"the policy flushed", "flush chain inet masq %s", "policy-"},
		{"the map flushed", "flush map inet masq policy4; flush map inet masq policy6", "policy4"},
		{"the table dormant", "add table inet masq { flags dormant; }", "table inet masq"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list := w.conflist("1.1.0", w.masq())
			a := w.attach("a", list)
			assert.NoError(t, w.within(w.statusOf(list)))
			w.seenAs(a, w.V4, w.V4.Node)
			if strings.Contains(test.damage, "%s") {
				w.nft(test.damage, "policy-"+w.policyID())
			} else {
				w.nodeRun("nft", test.damage)
			}
			w.seenAs(a, w.V4, a.addr(w.V4.Server))
			err := w.within(w.statusOf(list))
			if e, ok := err.(*types.Error); !ok || e.Code != someAreCut || !strings.Contains(e.Details, test.names) { //nolint:errorlint // libcni wraps nothing
				t.Errorf("STATUS: %v", err)
			}
			w.daemon()
			assert.NoError(t, w.within(w.statusOf(list)))
			w.seenAs(a, w.V4, w.V4.Node)
		})
	}
}

// TestStatusOfUnusedRules: STATUS accepts a damaged table that no attachment needs, because the
// next ADD repairs it.
func TestStatusOfUnusedRules(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	w.nodeRun("nft", "add table inet masq; add chain inet masq postrouting { type filter hook forward priority 0; }")
	assert.NoError(t, w.within(w.statusOf(list)))
	a := w.attach("a", list)
	w.seenAs(a, w.V4, w.V4.Node)
}

// TestStatusIsQuick: the kubelet calls STATUS frequently, also on a node with many attachments.
func TestStatusIsQuick(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq().With(keys{"snatAddresses": []string{w.V4.Node.String()}, "helpers": keys{"ftp": []int{21}}}))
	for i := range 40 {
		w.attach(fmt.Sprintf("c%d", i), list)
	}
	status := call{verb: "STATUS", conf: w.masq().With(keys{"snatAddresses": []string{w.V4.Node.String()}, "helpers": keys{"ftp": []int{21}}})}
	var all []time.Duration
	for range 20 {
		start := time.Now()
		r := w.call(status)
		all = append(all, time.Since(start))
		r.done(nil)
	}
	slices.Sort(all)
	t.Logf("STATUS with 40 attachments: median %s, %s to %s", all[10], all[0], all[19])
	if all[10] > 50*time.Millisecond {
		t.Errorf("STATUS takes %s", all[10])
	}
}
