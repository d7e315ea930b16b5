package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types020 "github.com/containernetworking/cni/pkg/types/020"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// Error codes of the plugin.
const (
	ofLink  = 100
	ofState = 102
	ofIPAM  = 103
	ofCheck = 104

	ofAddress = 105
)

// call is one execution of the plugin as CNI describes it, without libcni, which would hide
// other output of the program.
type call struct {
	verb, id, netns, args string
	conf                  keys
	without               string // environment variable that is not set
}

func (c call) env(w *world) []string {
	env := map[string]string{
		"CNI_COMMAND": c.verb, "CNI_CONTAINERID": c.id, "CNI_NETNS": c.netns, "CNI_IFNAME": "eth0",
		"CNI_ARGS": c.args, "CNI_PATH": strings.Join(w.cni.Path, ":"), "PATH": os.Getenv("PATH"),
	}
	delete(env, c.without)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}

// stdin returns the configuration, by default of version 1.1.0 and network "net".
func (c call) stdin(t testing.TB) []byte {
	t.Helper()
	conf := keys{"cniVersion": "1.1.0", "name": "net"}.With(c.conf)
	return assert.Must(json.Marshal(conf))(t)
}

// reply is the plugin's output and exit code.
type reply struct {
	t      testing.TB
	exit   int
	stdout []byte
	stderr string
}

// call executes the plugin in the node.
func (w *world) call(c call) reply {
	w.t.Helper()
	return w.feed(c, c.stdin(w.t))
}

// feed is call with this text as the configuration.
func (w *world) feed(c call, stdin []byte) reply {
	w.t.Helper()
	cmd := w.Node.Command(soon(w.t), pluginProgram(w.t))
	var out, diag bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.env(w), bytes.NewReader(stdin), &out, &diag
	err := cmd.Run()
	if failed := new(exec.ExitError); err != nil && !errors.As(err, &failed) {
		w.t.Fatalf("%s: %v", c.verb, err)
	}
	return reply{w.t, cmd.ProcessState.ExitCode(), out.Bytes(), diag.String()}
}

func pluginProgram(t testing.TB) string { return filepath.Join(pluginPath(t)[0], "masq") }

// object decodes stdout, which must be one JSON object.
func (r reply) object(v any) {
	r.t.Helper()
	d := json.NewDecoder(bytes.NewReader(r.stdout))
	if err := d.Decode(v); err != nil {
		r.t.Fatalf("stdout is no JSON object: %v\n%s\nstderr: %s", err, r.stdout, r.stderr)
	}
	if rest, _ := io.ReadAll(io.MultiReader(d.Buffered(), bytes.NewReader(r.stdout[d.InputOffset():]))); len(bytes.TrimSpace(rest)) > 0 {
		r.t.Fatalf("stdout has more than one JSON object:\n%s", r.stdout)
	}
}

// refused checks that a call failed with this code, and returns its error.
func (r reply) refused(code uint) types.Error {
	r.t.Helper()
	if r.exit != 1 {
		r.t.Fatalf("exit code %d, want 1\nstdout: %s\nstderr: %s", r.exit, r.stdout, r.stderr)
	}
	var e types.Error
	r.object(&e)
	if e.Code != code || e.Msg == "" || strings.Contains(e.Msg, "\n") {
		r.t.Errorf("code %d, want %d, or msg has several lines: %s", e.Code, code, describe(&e))
	}
	return e
}

// done checks that a call succeeded. v receives its result; nil says that there must be no
// result.
func (r reply) done(v any) {
	r.t.Helper()
	if r.exit != 0 {
		r.t.Fatalf("exit code %d\nstdout: %s\nstderr: %s", r.exit, r.stdout, r.stderr)
	}
	if v != nil {
		r.object(v)
	} else if len(r.stdout) > 0 {
		r.t.Errorf("stdout: %s", r.stdout)
	}
}

// TestVersion is the runtime's first call, without a configuration.
func TestVersion(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	var got struct {
		CNIVersion        string
		SupportedVersions []string
	}
	w.feed(call{verb: "VERSION"}, nil).done(&got)
	if want := version.All.SupportedVersions(); got.CNIVersion != "1.1.0" || !slices.Equal(got.SupportedVersions, want) {
		t.Errorf("%+v, want %v", got, want)
	}
	r := w.feed(call{without: "CNI_COMMAND"}, nil) // as typed at a shell
	if r.exit != 0 || len(r.stdout) != 0 || !strings.Contains(r.stderr, "CNI plugin masq") {
		t.Errorf("without a command: %+v", r)
	}
}

// atLeast compares versions of CNI.
func atLeast(t testing.TB, v, least string) bool {
	t.Helper()
	return assert.Must(version.GreaterThanOrEqualTo(v, least))(t)
}

// TestEveryVersion uses all versions that libcni supports, in main and in chained mode.
func TestEveryVersion(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	before := w.traces()
	for i, v := range append(version.All.SupportedVersions(), "") {
		t.Run("version "+v, func(t *testing.T) {
			w := w.in(t)
			p := w.pod(fmt.Sprintf("v%d", i))
			said := v
			conf := w.masq().With(keys{"cniVersion": v})
			if v == "" { // the first version has no key for it
				said = "0.1.0"
				conf["cniVersion"] = nil
			}
			c := call{verb: "ADD", id: "v", netns: p.Path(), conf: conf}
			r := w.call(c)
			var raw json.RawMessage
			r.done(&raw)
			var named struct{ CNIVersion string }
			assert.NoError(t, json.Unmarshal(raw, &named))
			if named.CNIVersion != said {
				t.Errorf("the result says version %q:\n%s", named.CNIVersion, raw)
			}
			result := assert.Must(version.NewResult(said, raw))(t)
			if result.Version() != said {
				t.Errorf("decodes as version %q:\n%s", result.Version(), raw)
			}
			p.result = assert.Must(types100.NewResultFromResult(result))(t)
			for _, plan := range w.Plans() {
				w.seenAs(p, plan, plan.Node)
				if a := p.addr(plan.Server); !slices.Contains(assert.Must(p.Addresses())(t), netip.PrefixFrom(a, map[bool]int{true: 16, false: 64}[a.Is4()])) {
					t.Errorf("the container does not have %s of the result", a)
				}
			}
			if old, ok := result.(*types020.Result); ok && (old.IP4 == nil || old.IP6 == nil ||
				old.IP4.Gateway.String() != "169.254.1.1" || len(old.IP4.Routes) != 1 || len(old.IP6.Routes) != 1) {
				t.Errorf("result:\n%s", raw)
			}
			w.verbsOf(c, said, raw)
			c.verb = "DEL"
			w.call(c).done(nil)
			unchanged(t, "remaining", w.traces(), before)

			// Chained: the previous result is passed on unchanged, with unknown keys.
			prev := strings.Replace(string(raw), "{", `{"extension": [1.50, "two"],`, 1)
			c.verb, c.conf = "ADD", w.behind().With(keys{"prevResult": json.RawMessage(prev)})
			c.conf["cniVersion"] = conf["cniVersion"]
			var passed, given any
			w.call(c).done(&passed)
			assert.NoError(t, json.Unmarshal([]byte(prev), &given))
			if !reflect.DeepEqual(passed, given) {
				t.Errorf("passed on:\n%v\nwant:\n%v", passed, given)
			}
			if during := w.traces(); !strings.Contains(during, p.addr(w.V4.Server).String()) || !strings.Contains(during, p.addr(w.V6.Server).String()) {
				t.Errorf("no element for the addresses of prevResult:\n%s", during)
			}
			w.verbsOf(c, said, json.RawMessage(prev))
			c.verb = "DEL"
			w.call(c).done(nil)
			unchanged(t, "remaining", w.traces(), before)
			assert.NoError(t, p.Close())
		})
	}
	t.Run("of the future", func(t *testing.T) {
		w := w.in(t)
		p := w.pod("future")
		for _, verb := range []string{"ADD", "DEL", "CHECK", "GC", "STATUS"} {
			c := call{verb: verb, id: "v", netns: p.Path(), conf: w.masq().With(keys{"cniVersion": "1.2.0"})}
			w.call(c).refused(types.ErrIncompatibleCNIVersion)
		}
		unchanged(t, "remaining", w.traces(), before)
	})
}

// verbsOf calls the verbs that only some versions have.
func (w *world) verbsOf(add call, v string, result json.RawMessage) {
	w.t.Helper()
	for verb, since := range map[string]string{"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"} {
		c := add
		c.verb = verb
		if c.conf = c.conf.With(keys{"prevResult": result}); verb == "GC" {
			c.conf["cni.dev/valid-attachments"] = []keys{{"containerID": c.id, "ifname": "eth0"}}
		}
		if verb != "CHECK" {
			delete(c.conf, "prevResult")
		}
		if r := w.call(c); atLeast(w.t, v, since) {
			r.done(nil)
		} else {
			r.refused(types.ErrIncompatibleCNIVersion)
		}
	}
	// The control: CHECK of another container fails.
	if atLeast(w.t, v, "0.4.0") {
		c := add
		c.verb, c.id, c.conf = "CHECK", "another", add.conf.With(keys{"prevResult": result})
		w.call(c).refused(ofCheck)
	}
}

// TestResult compares the result of ADD with the actual state.
func TestResult(t *testing.T) {
	type link struct {
		Ifname, Address string
		MTU             int
	}
	linkOf := func(t *testing.T, text string) link {
		t.Helper()
		var all []link
		assert.NoError(t, json.Unmarshal([]byte(text), &all))
		return all[0]
	}
	const resolv = "# comment\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example.org example.net\ndomain example.com\noptions ndots:2 edns0\n"
	for _, test := range []struct {
		name, resolv string
		keys, ipam   keys
		uplink       int
		mtu          int
		routes       []string // without gateways, which are the host's end
	}{
		{name: "defaults", mtu: 1500, routes: []string{"0.0.0.0/0", "::/0"}},
		{name: "uplink of 1400", uplink: 1400, mtu: 1400, routes: []string{"0.0.0.0/0", "::/0"}},
		{name: "mtu of 1300", keys: keys{"mtu": 1300}, mtu: 1300, routes: []string{"0.0.0.0/0", "::/0"}},
		{
			name: "routes", mtu: 1500,
			ipam:   keys{"routes": []keys{{"dst": "192.168.0.0/16"}, {"dst": "198.51.100.0/24"}}},
			routes: []string{"192.168.0.0/16", "198.51.100.0/24", "::/0"},
		},
		{name: "resolvConf", resolv: resolv, mtu: 1500, routes: []string{"0.0.0.0/0", "::/0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{MTU: test.uplink})
			conf := w.masq().With(test.keys)
			conf["ipam"] = conf["ipam"].(keys).With(test.ipam)
			if test.resolv != "" {
				path := filepath.Join(w.dir, "resolv.conf")
				assert.NoError(t, os.WriteFile(path, []byte(test.resolv), 0o600))
				conf["ipam"].(keys)["resolvConf"] = path
			}
			p := w.attach("a", w.conflist("1.1.0", conf))
			r := p.result
			if len(r.Interfaces) != 2 {
				t.Fatalf("interfaces %v", r.Interfaces)
			}
			host, container := r.Interfaces[0], r.Interfaces[1]
			if host.Sandbox != "" || container.Sandbox != p.Path() || container.Name != "eth0" || !strings.HasPrefix(host.Name, "veth") {
				t.Errorf("interfaces %v", r.Interfaces)
			}
			for _, side := range []struct {
				said *types100.Interface
				is   link
			}{
				{host, linkOf(t, w.nodeRun("ip", "-j", "link", "show", host.Name))},
				{container, linkOf(t, p.run("ip", "-j", "link", "show", "eth0"))},
			} {
				if said := (link{side.said.Name, side.said.Mac, side.said.Mtu}); said != side.is || said.MTU != test.mtu {
					t.Errorf("interface %+v, is %+v, want MTU %d", said, side.is, test.mtu)
				}
			}
			gateways := map[bool]string{}
			have := assert.Must(p.Addresses())(t)
			if len(r.IPs) != len(w.Plans()) || len(have) != len(r.IPs) {
				t.Errorf("addresses %v, there are %v", r.IPs, have)
			}
			for _, ip := range r.IPs {
				if ip.Interface == nil || *ip.Interface != 1 {
					t.Errorf("%v is not the container's", ip)
				}
				if !slices.Contains(have, netip.MustParsePrefix(ip.Address.String())) {
					t.Errorf("%s is not among %v", ip.Address.String(), have)
				}
				gateways[ip.Address.IP.To4() != nil] = ip.Gateway.String()
			}
			if gateways[true] != "169.254.1.1" || !strings.HasPrefix(gateways[false], "fe80::") {
				t.Errorf("gateways %v", gateways)
			}
			var routes []string
			for _, route := range r.Routes {
				routes = append(routes, route.Dst.String())
				v4 := route.Dst.IP.To4() != nil
				args := []string{"-4", "route", "show", strings.Replace(route.Dst.String(), "0.0.0.0/0", "default", 1)}
				if !v4 {
					args = []string{"-6", "route", "show", strings.Replace(route.Dst.String(), "::/0", "default", 1)}
				}
				if is := p.run("ip", args...); !strings.Contains(is, "via "+gateways[v4]+" dev eth0") {
					t.Errorf("route %v: the container has %q", route, is)
				}
				if route.GW != nil && route.GW.String() != gateways[v4] {
					t.Errorf("route %v: the gateway is %s", route, gateways[v4])
				}
			}
			if !slices.Equal(routes, test.routes) {
				t.Errorf("routes %v, want %v", routes, test.routes)
			}
			want := types.DNS{}
			if test.resolv != "" {
				want = types.DNS{
					Nameservers: []string{"192.0.2.53", "2001:db8::53"}, Domain: "example.com",
					Search: []string{"example.org", "example.net"}, Options: []string{"ndots:2", "edns0"},
				}
			}
			if !reflect.DeepEqual(r.DNS, want) {
				t.Errorf("DNS %+v, want %+v", r.DNS, want)
			}
			assert.NoError(t, p.tryCheck(p.list))
		})
	}
}
