package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// in returns the world for a subtest.
func (w *world) in(t testing.TB) *world {
	c := *w
	c.t = t
	return &c
}

// faulty are invalid values of a configuration.
var faulty = []struct {
	name  string
	keys  keys
	names []string // text that the details must contain
}{
	{"mtu", keys{"mtu": -1}, []string{"mtu", "-1"}},
	{"ipMasq", keys{"ipMasq": "yes"}, []string{"ipMasq", "yes"}},
	{"iptables", keys{"ipMasqBackend": "iptables"}, []string{"ipMasqBackend", "iptables", "nftables"}},
	{"misaligned", keys{"nonMasqueradeCIDRs": []string{"10.0.0.1/8"}}, []string{"nonMasqueradeCIDRs", "10.0.0.1/8", "10.0.0.0/8"}},
	{"no prefix", keys{"masqueradeCIDRs": []string{"ten"}}, []string{"masqueradeCIDRs", "ten"}},
	{"no address", keys{"snatAddresses": []string{"192.0.2.2/24"}}, []string{"snatAddresses", "192.0.2.2/24"}},
	{"reversed", keys{"toPorts": "30000-20000"}, []string{"toPorts", "30000-20000"}},
	{"clamp", keys{"mssClamp": "narrow"}, []string{"mssClamp", "narrow"}},
	{"helper", keys{"helpers": keys{"gopher": []int{70}}}, []string{"helpers", "gopher"}},
	{"relative", keys{"stateDir": "run/masq"}, []string{"stateDir", "run/masq"}},
	{"unknown", keys{"nonMasqueradeCIDR": []string{"10.0.0.0/8"}}, []string{"nonMasqueradeCIDR"}},
}

// TestConfigFaults: all faults of a configuration are reported in one CNI error before
// anything is changed.
func TestConfigFaults(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.pod("a")
	before := w.traces()
	untouched := func(t *testing.T, w *world) {
		t.Helper()
		unchanged(t, "remaining", w.traces(), before)
		if links := assert.Must(p.LinkNames())(t); len(links) != 1 {
			t.Errorf("the container has %v", links)
		}
	}
	all := w.masq()
	for _, f := range faulty {
		all = all.With(f.keys)
		t.Run(f.name, func(t *testing.T) {
			w := w.in(t)
			e := w.call(call{verb: "ADD", id: "a", netns: p.Path(), conf: w.masq().With(f.keys)}).refused(types.ErrInvalidNetworkConfig)
			if lines := strings.Split(e.Details, "\n"); len(lines) != 1 {
				t.Errorf("%d faults, want 1:\n%s", len(lines), e.Details)
			}
			for _, name := range f.names {
				if !strings.Contains(e.Details, name) {
					t.Errorf("details do not name %q: %s", name, e.Details)
				}
			}
			untouched(t, w)
		})
	}
	t.Run("all at once", func(t *testing.T) {
		w := w.in(t)
		for _, verb := range []string{"ADD", "CHECK", "GC", "STATUS"} {
			e := w.call(call{verb: verb, id: "a", netns: p.Path(), conf: all}).refused(types.ErrInvalidNetworkConfig)
			lines := strings.Split(e.Details, "\n")
			if len(lines) != len(faulty) {
				t.Errorf("%s: %d faults instead of %d:\n%s", verb, len(lines), len(faulty), e.Details)
			}
			for _, f := range faulty {
				named := slices.ContainsFunc(lines, func(line string) bool {
					return !slices.ContainsFunc(f.names, func(n string) bool { return !strings.Contains(line, n) })
				})
				if !named {
					t.Errorf("%s: no line names %q:\n%s", verb, f.names, e.Details)
				}
			}
			untouched(t, w)
		}
		if err := p.tryAdd(w.conflist("1.1.0", all)); err == nil {
			t.Error("libcni received a result")
		} else if e := new(types.Error); !errors.As(err, &e) || e.Code != types.ErrInvalidNetworkConfig {
			t.Errorf("through libcni: %s", describe(err))
		}
		untouched(t, w)
	})
	t.Run("no fault", func(t *testing.T) { // control
		w := w.in(t)
		c := call{verb: "ADD", id: "a", netns: p.Path(), conf: w.masq()}
		w.call(c).done(new(types100.Result))
		if w.traces() == before {
			t.Error("an ADD leaves no trace, so this test proves nothing")
		}
		// DEL must succeed with any policy that the configuration has by then.
		c.verb, c.conf = "DEL", all.With(keys{"stateDir": c.conf["stateDir"]})
		w.call(c).done(nil)
		untouched(t, w)
	})
}

// TestInputFaults: faults outside the keys of the policy.
func TestInputFaults(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.pod("a")
	base := call{verb: "ADD", id: "a", netns: p.Path(), conf: w.masq()}
	cases := []struct {
		name   string
		change func(*call)
		stdin  string
		code   uint
		names  string // text in msg or details
	}{
		{"neither ipam nor prevResult", func(c *call) { c.conf["ipam"] = nil }, "", types.ErrInvalidNetworkConfig, "prevResult"},
		{"prevResult of no address", func(c *call) {
			c.conf = c.conf.With(keys{"ipam": nil, "prevResult": keys{"cniVersion": "1.1.0"}})
		}, "", types.ErrInvalidNetworkConfig, "prevResult"},
		{"prevResult of nonsense", func(c *call) {
			c.conf = c.conf.With(keys{"ipam": nil, "prevResult": keys{"cniVersion": "1.1.0", "ips": "10.0.0.1"}})
		}, "", types.ErrInvalidNetworkConfig, "prevResult"},
		{"no JSON", func(*call) {}, "{", types.ErrDecodingFailure, "JSON"},
		{"nothing on stdin", func(*call) {}, " ", types.ErrDecodingFailure, "JSON"},
		{"no name", func(c *call) { c.conf["name"] = nil }, "", types.ErrInvalidNetworkConfig, "name"},
		{"name with a slash", func(c *call) { c.conf["name"] = "../net" }, "", types.ErrInvalidNetworkConfig, "name"},
		{"unknown version", func(c *call) { c.conf["cniVersion"] = "9.9.9" }, "", types.ErrIncompatibleCNIVersion, "9.9.9"},
		{"unknown verb", func(c *call) { c.verb = "UPDATE" }, "", types.ErrInvalidEnvironmentVariables, "UPDATE"},
		{"no container", func(c *call) { c.without = "CNI_CONTAINERID" }, "", types.ErrInvalidEnvironmentVariables, "CNI_CONTAINERID"},
		{"no namespace", func(c *call) { c.without = "CNI_NETNS" }, "", types.ErrInvalidEnvironmentVariables, "CNI_NETNS"},
		{"container with a slash", func(c *call) { c.id = "../a" }, "", types.ErrInvalidEnvironmentVariables, "../a"},
		{"arguments that are no pairs", func(c *call) { c.args = "IP" }, "", types.ErrInvalidEnvironmentVariables, "CNI_ARGS"},
		{"an address that is no address", func(c *call) { c.args = "IP=ten" }, "", ofIPAM, "ten"},
		{"an address of another network", func(c *call) { c.args = "IP=192.0.2.77" }, "", ofIPAM, "192.0.2.77"},
		{"egress address of another node", func(c *call) { c.conf["snatAddresses"] = []string{"192.0.2.99"} }, "", types.ErrInvalidNetworkConfig, "192.0.2.99"},
	}
	before := w.traces()
	for _, f := range cases {
		t.Run(f.name, func(t *testing.T) {
			w := w.in(t)
			c := base
			c.conf = maps.Clone(base.conf)
			f.change(&c)
			stdin := c.stdin(t)
			if f.stdin != "" {
				stdin = []byte(f.stdin)
			}
			e := w.feed(c, stdin).refused(f.code)
			if !strings.Contains(e.Msg+e.Details, f.names) {
				t.Errorf("does not name %q: %s", f.names, describe(&e))
			}
			unchanged(t, "remaining", w.traces(), before)
			if links := assert.Must(p.LinkNames())(t); len(links) != 1 {
				t.Errorf("the container has %v", links)
			}
		})
	}
	t.Run("none", func(t *testing.T) { // control: the same call without a fault
		w := w.in(t)
		c := base
		c.args = "IP=10.88.0.77"
		c.conf = c.conf.With(keys{"snatAddresses": []string{w.V4.Node.String()}})
		w.call(c).done(new(types100.Result))
		c.verb = "DEL"
		w.call(c).done(nil)
	})
}

// withPlugin writes a shell script as a plugin into the directory where the runtime and
// the plugins search for others.
func (w *world) withPlugin(name, script string) {
	w.t.Helper()
	dir := filepath.Join(w.dir, "plugins")
	assert.NoError(w.t, os.MkdirAll(dir, 0o755))
	assert.NoError(w.t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755))
	w.cni = libcni.NewCNIConfigWithCacheDir(append(pluginPath(w.t), dir), filepath.Join(w.dir, "cache"), nil)
}

// otherIPAM installs an IPAM plugin that logs its calls. It leases 10.99.0.7, unless a
// file contains another answer.
func (w *world) otherIPAM() {
	w.t.Helper()
	w.withPlugin("foreign", fmt.Sprintf(`
cd '%s'
{ echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_NETNS [$CNI_ARGS] $CNI_PATH"; } >> calls
cat > stdin.$CNI_COMMAND
if [ -e fail.$CNI_COMMAND ]; then cat fail.$CNI_COMMAND; exit 1; fi
if [ "$CNI_COMMAND" = ADD ]; then
	if [ -e result ]; then cat result; else
	echo '{"cniVersion":"1.1.0","ips":[{"address":"10.99.0.7/24","gateway":"10.99.0.1"}],"routes":[{"dst":"0.0.0.0/0"},{"dst":"192.168.0.0/16","gw":"10.99.0.9"}],"dns":{"nameservers":["10.99.0.53"]}}'
	fi
fi
`, w.dir))
}

// calls returns the verbs that otherIPAM was called with since the last call of calls.
func (w *world) calls() string {
	w.t.Helper()
	path := filepath.Join(w.dir, "calls")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	assert.NoError(w.t, err)
	assert.NoError(w.t, os.Remove(path))
	return string(b)
}

// TestOtherIPAM delegates to an IPAM plugin other than host-local.
func TestOtherIPAM(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.otherIPAM()
	conf := w.masq().With(keys{"ipam": keys{"type": "foreign", "anything": "of its own"}})
	before := w.traces()

	t.Run("every verb", func(t *testing.T) {
		w := w.in(t)
		list := w.conflist("1.1.0", conf)
		p := w.pod("every")
		p.runtime.Args = [][2]string{{"IgnoreUnknown", "1"}, {"FLAVOUR", "plain"}}
		called := func(verb, id, ifname, netns, args string) {
			t.Helper()
			want := fmt.Sprintf("%s %s %s %s [%s] %s\n", verb, id, ifname, netns, args, strings.Join(w.cni.Path, ":"))
			if got := w.calls(); got != want {
				t.Errorf("called with\n%s\nwant\n%s", got, want)
			}
			var stdin struct {
				CNIVersion, Name string
				IPAM             keys
			}
			assert.NoError(t, json.Unmarshal(assert.Must(os.ReadFile(filepath.Join(w.dir, "stdin."+verb)))(t), &stdin))
			if stdin.Name != "net" || stdin.CNIVersion != "1.1.0" || stdin.IPAM["anything"] != "of its own" {
				t.Errorf("%s was given %+v", verb, stdin)
			}
		}
		assert.NoError(t, p.tryAdd(list))
		called("ADD", "every", "eth0", p.Path(), "IgnoreUnknown=1;FLAVOUR=plain")
		if a := p.addr(w.V4.Server); a.String() != "10.99.0.7" {
			t.Errorf("address %s", a)
		}
		if dns := p.result.DNS.Nameservers; len(dns) != 1 || dns[0] != "10.99.0.53" {
			t.Errorf("DNS %+v", p.result.DNS)
		}
		// The gateway in the answer does not matter: the link has one other end.
		if route := p.run("ip", "route", "show", "192.168.0.0/16"); !strings.Contains(route, "via 169.254.1.1") {
			t.Errorf("the route of the IPAM plugin is missing: %q", route)
		}
		w.seenAs(p, w.V4, w.V4.Node)
		assert.NoError(t, p.tryCheck(list))
		called("CHECK", "every", "eth0", p.Path(), "IgnoreUnknown=1;FLAVOUR=plain")
		assert.NoError(t, w.within(w.statusOf(list)))
		called("STATUS", "", "", "", "")
		assert.NoError(t, w.within(w.gcOf(list, types.GCAttachment{ContainerID: "every", IfName: "eth0"})))
		called("GC", "", "", "", "")
		assert.NoError(t, p.tryDel(list))
		called("DEL", "every", "eth0", p.Path(), "IgnoreUnknown=1;FLAVOUR=plain")
		assert.NoError(t, p.tryDel(list))
		called("DEL", "every", "eth0", p.Path(), "IgnoreUnknown=1;FLAVOUR=plain")
		unchanged(t, "remaining", w.traces(), before)
	})

	fail := func(t *testing.T, verb, text string) {
		t.Helper()
		path := filepath.Join(w.dir, "fail."+verb)
		assert.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		t.Cleanup(func() { assert.NoError(t, os.Remove(path)) })
	}
	p := w.pod("failing")
	add := call{verb: "ADD", id: "failing", netns: p.Path(), conf: conf}
	del := add
	del.verb = "DEL"
	nothing := func(t *testing.T, w *world) {
		t.Helper()
		unchanged(t, "remaining", w.traces(), before)
	}
	t.Run("ADD fails", func(t *testing.T) {
		w := w.in(t)
		fail(t, "ADD", `{"cniVersion":"1.1.0","code":111,"msg":"the pool is dry","details":"since noon"}`)
		if e := w.call(add).refused(111); !strings.Contains(e.Msg, "the pool is dry") || !strings.Contains(e.Details, "since noon") {
			t.Errorf("the message of the IPAM plugin is lost: %s", describe(&e))
		}
		nothing(t, w)
	})
	t.Run("ADD fails without a message", func(t *testing.T) {
		w := w.in(t)
		fail(t, "ADD", "Segmentation fault")
		if e := w.call(add).refused(ofIPAM); !strings.Contains(e.Details, "foreign") || !strings.Contains(e.Details, "Segmentation fault") {
			t.Errorf("does not name the failed plugin and its error: %s", describe(&e))
		}
		nothing(t, w)
	})
	for name, result := range map[string]string{
		"no result":         "",
		"nonsense":          "Hello",
		"no address":        `{"cniVersion":"1.1.0"}`,
		"null":              `{"cniVersion":"1.1.0","ips":[null]}`,
		"unusable address":  `{"cniVersion":"1.1.0","ips":[{"address":"224.0.0.1/24"}]}`,
		"another version":   `{"cniVersion":"0.2.0","ip4":{"ip":"10.99.0.7/24"}}`,
		"route of no way":   `{"cniVersion":"1.1.0","ips":[{"address":"10.99.0.7/24"}],"routes":[{"dst":"::/0"}]}`,
		"addresses in both": `{"cniVersion":"1.1.0","ips":[{"address":"10.99.0.7/24"}],"routes":[{"dst":"10.0.0.0/8","gw":"fe80::1"}]}`,
	} {
		t.Run("ADD gives "+name, func(t *testing.T) {
			w := w.in(t)
			path := filepath.Join(w.dir, "result")
			assert.NoError(t, os.WriteFile(path, []byte(result), 0o600))
			defer func() { assert.NoError(t, os.Remove(path)) }()
			w.calls()
			r := w.call(add)
			if name == "another version" && r.exit == 0 { // the result is readable
				w.calls()
				w.call(del).done(nil)
				nothing(t, w)
				return
			}
			var e types.Error
			r.object(&e)
			if r.exit != 1 || e.Code < 100 || e.Msg == "" {
				t.Errorf("exit code %d: %s", r.exit, describe(&e))
			}
			// After a failed ADD, the IPAM plugin is called to release its lease.
			if verbs := w.calls(); !strings.Contains(verbs, "ADD ") || !strings.Contains(verbs, "DEL ") {
				t.Errorf("called %q", verbs)
			}
			nothing(t, w)
			if links := assert.Must(p.LinkNames())(t); len(links) != 1 {
				t.Errorf("the container has %v", links)
			}
		})
	}
	t.Run("DEL fails", func(t *testing.T) {
		w := w.in(t)
		w.call(add).done(new(types100.Result))
		t.Run("once", func(t *testing.T) {
			w := w.in(t)
			fail(t, "DEL", `{"cniVersion":"1.1.0","code":11,"msg":"busy"}`)
			w.call(del).refused(11)
		})
		w.call(del).done(nil)
		nothing(t, w)
	})
	t.Run("CHECK fails", func(t *testing.T) {
		w := w.in(t)
		r := w.call(add)
		var prev keys
		r.done(&prev)
		c := add
		c.verb, c.conf = "CHECK", c.conf.With(keys{"prevResult": prev})
		w.call(c).done(nil) // control
		t.Run("once", func(t *testing.T) {
			w := w.in(t)
			fail(t, "CHECK", `{"cniVersion":"1.1.0","code":112,"msg":"another container has it"}`)
			if e := w.call(c).refused(ofCheck); !strings.Contains(e.Details, "another container has it") {
				t.Errorf("lacks the message of the IPAM plugin: %s", describe(&e))
			}
		})
		w.call(del).done(nil)
	})
	t.Run("not found", func(t *testing.T) {
		w := w.in(t)
		for _, verb := range []string{"ADD", "STATUS"} {
			c := add
			c.verb, c.conf = verb, c.conf.With(keys{"ipam": keys{"type": "nobody"}})
			code := map[string]uint{"ADD": ofIPAM, "STATUS": cannotAdd}[verb]
			if e := w.call(c).refused(code); !strings.Contains(e.Details+e.Msg, "nobody") || !strings.Contains(e.Details+e.Msg, w.cni.Path[0]) {
				t.Errorf("%s does not name what is missing and where: %s", verb, describe(&e))
			}
		}
		nothing(t, w)
	})
	t.Run("a path", func(t *testing.T) {
		w := w.in(t)
		c := add
		c.conf = c.conf.With(keys{"ipam": keys{"type": "../plugins/foreign"}})
		w.calls()
		w.call(c).refused(types.ErrInvalidNetworkConfig)
		if got := w.calls(); got != "" {
			t.Errorf("ran it: %s", got)
		}
	})
}

// TestPoolExhausted: there is no address for the second of two containers.
func TestPoolExhausted(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	conf := w.masq()
	conf["ipam"] = keys{
		"type": "host-local", "dataDir": filepath.Join(w.dir, "leases"),
		"ranges": []any{
			[]any{keys{"subnet": "fd00:88::/64"}},
			[]any{keys{"subnet": "10.88.0.0/16", "rangeStart": "10.88.3.4", "rangeEnd": "10.88.3.4"}},
		},
	}
	list := w.conflist("1.1.0", conf)
	first := w.attach("first", list)
	before := w.traces()
	err := w.pod("second").tryAdd(list)
	e := new(types.Error)
	if !errors.As(err, &e) || e.Code != ofIPAM || !strings.Contains(e.Details, "10.88.3.4") {
		t.Errorf("got %v", err)
	}
	unchanged(t, "remaining", w.traces(), before)
	assert.NoError(t, first.tryCheck(list))
	first.detach()
	w.attach("third", list)
}
