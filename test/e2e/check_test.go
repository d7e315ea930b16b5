package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// nft runs an nft command for the managed table.
func (w *world) nft(format string, args ...any) {
	w.t.Helper()
	w.nodeRun("nft", fmt.Sprintf(format, args...))
}

// policyID returns the ID in the chain name of the table's only policy.
func (w *world) policyID() string {
	w.t.Helper()
	m := regexp.MustCompile(`chain policy-(\S+) `).FindStringSubmatch(w.nodeRun("nft", "list", "table", "inet", "masq"))
	if m == nil {
		w.t.Fatal("no policy in the table")
	}
	return m[1]
}

// takeRule deletes the rule with this ID.
func (w *world) takeRule(chain, id string) {
	w.t.Helper()
	var listing struct {
		Nftables []struct {
			Rule *struct {
				Handle  int
				Comment string
			}
		}
	}
	assert.NoError(w.t, json.Unmarshal([]byte(w.nodeRun("nft", "-j", "-a", "list", "chain", "inet", "masq", chain)), &listing))
	for _, o := range listing.Nftables {
		if o.Rule != nil && o.Rule.Comment == id {
			w.nft("delete rule inet masq %s handle %d", chain, o.Rule.Handle)
			return
		}
	}
	w.t.Fatalf("no rule %s in chain %s", id, chain)
}

// takeRouteOf deletes the node's route to the container's address of a family.
func (p *pod) takeRouteOf(plan nstest.Plan) {
	p.w.t.Helper()
	p.w.nodeRun("ip", "route", "del", p.addr(plan.Server).String())
}

// prefix returns the container's address of a family with its prefix length.
func (p *pod) prefix(plan nstest.Plan) string {
	return netip.PrefixFrom(p.addr(plan.Server), map[bool]int{true: 16, false: 64}[plan.Server.Is4()]).String()
}

func (p *pod) host() string { return p.result.Interfaces[0].Name }

// TestCheckNamesWhatIsMissing damages one object after the other of a correct
// attachment.
func TestCheckNamesWhatIsMissing(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq().With(keys{"helpers": keys{"ftp": []int{21}}}))
	// An attachment of another network keeps the table and is not affected.
	beside := w.attach("beside", w.namedConflist("other", "1.1.0", w.masqOn("10.99.0.0/24").With(keys{"ipMasq": false})))

	before := w.traces()

	wipe := func() { w.nft("add table inet masq; delete table inet masq") }
	rule := func(chain, id string) func(*world, *pod) {
		return func(w *world, _ *pod) { w.takeRule(chain, id) }
	}
	element := func(set, format string, v6 bool) func(*world, *pod) {
		return func(w *world, p *pod) {
			plan := w.V4
			if v6 {
				plan = w.V6
			}
			key := strings.NewReplacer("ADDR", p.addr(plan.Server).String(), "HOST", p.host()).Replace(format)
			w.nft("delete element inet masq %s { %s }", set, key)
		}
	}
	cases := []struct {
		name  string
		take  func(*world, *pod)
		names []string // text in the details; ADDR4, ADDR6, HOST and ID stand for the attachment's values
	}{
		{"rule policy/direct4", func(w *world, _ *pod) { w.takeRule("policy-"+w.policyID(), "policy/direct4") }, []string{"rule policy-ID policy/direct4: missing"}},
		{"rule policy/never", func(w *world, _ *pod) { w.takeRule("policy-"+w.policyID(), "policy/never") }, []string{"policy/never: missing"}},
		{"rule policy/egress", func(w *world, _ *pod) { w.takeRule("policy-"+w.policyID(), "policy/egress") }, []string{"policy/egress: missing"}},
		{"rule postrouting/policy4", rule("postrouting", "postrouting/policy4"), []string{"rule postrouting postrouting/policy4: missing"}},
		{"rule postrouting/policy6", rule("postrouting", "postrouting/policy6"), []string{"postrouting/policy6: missing"}},
		{"rule prerouting/sources", rule("prerouting-early", "prerouting/sources"), []string{"prerouting/sources: missing"}},
		{"rule prerouting/helpers", rule("prerouting-nat", "prerouting/helpers"), []string{"prerouting/helpers: missing"}},
		{"rule helpers/ftp-tcp4", rule("helpers", "helpers/ftp-tcp4"), []string{"helpers/ftp-tcp4: missing"}},
		{"rule sources/own6", rule("sources", "sources/own6"), []string{"sources/own6: missing"}},
		{"rule sources/spoofed", rule("sources", "sources/spoofed"), []string{"sources/spoofed: missing"}},
		{"rule forward/clamp", rule("forward", "forward/clamp"), []string{"forward/clamp: missing"}},
		{"rule forward/exceptional", rule("forward", "forward/exceptional"), []string{"forward/exceptional: missing"}},
		{"rule clamp/pmtu-daddr4", rule("clamp", "clamp/pmtu-daddr4"), []string{"clamp/pmtu-daddr4: missing"}},
		{"rule invalid/drop4", rule("invalid", "invalid/drop4"), []string{"invalid/drop4: missing"}},
		{"rule inserted first", func(w *world, _ *pod) { w.nft("insert rule inet masq policy-%s counter return", w.policyID()) }, []string{"unexpected"}},
		{"rule in another's place", func(w *world, _ *pod) {
			chain := "policy-" + w.policyID()
			w.takeRule(chain, "policy/egress")
			w.nft(`add rule inet masq %s counter snat ip to 192.0.2.7 comment "policy/egress"`, chain)
		}, []string{"policy/egress"}},
		{"all rules of a chain", func(w *world, _ *pod) { w.nft("flush chain inet masq postrouting") }, []string{"postrouting/policy4: missing", "postrouting/policy6: missing"}},
		{"policy of a chain", func(w *world, _ *pod) { w.nft("chain inet masq forward { policy drop; }") }, []string{"chain forward"}},
		{"table", func(w *world, _ *pod) { w.nft("delete table inet masq") }, []string{"table inet masq: missing"}},
		{"table dormant", func(w *world, _ *pod) { w.nft("add table inet masq { flags dormant; }") }, []string{"table inet masq: has flags"}},
		{"ruleset", func(w *world, _ *pod) { w.nft("flush ruleset") }, []string{"table inet masq: missing"}},
		{"element policy4", element("policy4", "ADDR", false), []string{"element policy4 ADDR4: missing"}},
		{"element policy6", element("policy6", "ADDR", true), []string{"element policy6 ADDR6: missing"}},
		{"element of another", func(w *world, p *pod) {
			a := p.addr(w.V4.Server)
			w.nft(`delete element inet masq policy4 { %s }; add element inet masq policy4 { %s comment "net/thief/eth0" : goto policy-%s }`, a, a, w.policyID())
		}, []string{"element policy4 ADDR4", "net/thief/eth0"}},
		{"element elsewhere", func(w *world, p *pod) {
			a := p.addr(w.V4.Server)
			w.nft(`delete element inet masq policy4 { %s }; add element inet masq policy4 { %s comment "net/checked/eth0" : goto clamp }`, a, a)
		}, []string{"element policy4 ADDR4", "clamp"}},
		{"element sources4", element("sources4", `"HOST" . ADDR`, false), []string{"element sources4", "ADDR4: missing"}},
		{"element sources6", element("sources6", `"HOST" . ADDR`, true), []string{"element sources6", "ADDR6: missing"}},
		{"element clamp4-pmtu", element("clamp4-pmtu", "ADDR", false), []string{"element clamp4-pmtu ADDR4: missing"}},
		{"element clamp6-pmtu", element("clamp6-pmtu", "ADDR", true), []string{"element clamp6-pmtu ADDR6: missing"}},
		{"element invalid4", element("invalid4", "ADDR", false), []string{"element invalid4 ADDR4: missing"}},
		{"element helper4-ftp-tcp", element("helper4-ftp-tcp", "ADDR . 21", false), []string{"element helper4-ftp-tcp ADDR4 . 21: missing"}},
		{"element helper6-ftp-tcp", element("helper6-ftp-tcp", "ADDR . 21", true), []string{"element helper6-ftp-tcp ADDR6 . 21: missing"}},
		{"element never", func(w *world, _ *pod) { w.nft("delete element inet masq never { broadcast }") }, []string{"never broadcast: missing"}},
		{"range direct4", func(w *world, _ *pod) { w.nft("delete element inet masq direct4-%s { 224.0.0.0/4 }", w.policyID()) }, []string{"element direct4-ID"}},
		{"range direct6", func(w *world, _ *pod) { w.nft("delete element inet masq direct6-%s { ff00::/8 }", w.policyID()) }, []string{"element direct6-ID"}},
		{"range too many", func(w *world, _ *pod) { w.nft("add element inet masq direct4-%s { 198.51.100.0/24 }", w.policyID()) }, []string{"element direct4-ID"}},
		{"host link", func(w *world, p *pod) { w.nodeRun("ip", "link", "del", p.host()) }, []string{"interface HOST of the node is missing", "eth0"}},
		{"host link up", func(w *world, p *pod) { w.nodeRun("ip", "link", "set", p.host(), "down") }, []string{"interface HOST is down"}},
		{"host link's group", func(w *world, p *pod) { w.nodeRun("ip", "link", "set", p.host(), "group", "default") }, []string{"interface HOST", "group 0"}},
		{"host link's alias, of another", func(w *world, p *pod) {
			w.nodeRun("ip", "link", "set", p.host(), "alias", "net/thief/eth0")
		}, []string{"interface HOST", "net/thief/eth0"}},
		{"host link's MTU", func(w *world, p *pod) { w.nodeRun("ip", "link", "set", p.host(), "mtu", "1280") }, []string{"interface HOST", "MTU 1280"}},
		{"host link's IPv6", func(w *world, p *pod) { w.nodeRun("ip", "-6", "address", "flush", "dev", p.host()) }, []string{"HOST", "fe80::"}},
		{"host link's forwarding", func(w *world, p *pod) {
			assert.NoError(w.t, w.Node.Sysctl("net/ipv4/conf/"+p.host()+"/forwarding", "0"))
		}, []string{"HOST", "forwarding"}},
		{"uplink's forwarding", func(w *world, _ *pod) { assert.NoError(w.t, w.Node.Sysctl("net/ipv4/conf/uplink/forwarding", "0")) }, []string{"uplink", "forwarding"}},
		{"host route, IPv4", func(w *world, p *pod) { p.takeRouteOf(w.V4) }, []string{"route", "ADDR4", "HOST"}},
		{"host route, IPv6", func(w *world, p *pod) { p.takeRouteOf(w.V6) }, []string{"route", "ADDR6", "HOST"}},
		{"container link", func(_ *world, p *pod) { p.run("ip", "link", "set", "eth0", "down") }, []string{"eth0", "is down"}},
		{"container link's name", func(_ *world, p *pod) {
			p.run("sh", "-c", "ip link set eth0 down && ip link set eth0 name eth1 && ip link set eth1 up")
		}, []string{"eth0", "missing"}},
		{"container address, IPv4", func(w *world, p *pod) { p.run("ip", "address", "del", p.prefix(w.V4), "dev", "eth0") }, []string{"address ADDR4/16 is missing"}},
		{"container address, IPv6", func(w *world, p *pod) { p.run("ip", "address", "del", p.prefix(w.V6), "dev", "eth0") }, []string{"address ADDR6/64 is missing"}},
		{"container route, IPv4", func(_ *world, p *pod) { p.run("ip", "-4", "route", "del", "default") }, []string{"route default", "missing"}},
		{"container route, IPv6", func(_ *world, p *pod) { p.run("ip", "-6", "route", "del", "default") }, []string{"route default", "missing"}},
		{"container namespace", func(w *world, p *pod) { assert.NoError(w.t, p.Close()) }, []string{"NETNS"}},
		{"lease, both", func(w *world, p *pod) {
			for _, plan := range w.Plans() {
				assert.NoError(w.t, os.Remove(filepath.Join(w.dir, "leases", "net", p.addr(plan.Server).String())))
			}
		}, []string{"lease: ", "checked"}},
		{"lease, of another", func(w *world, p *pod) {
			for _, plan := range w.Plans() {
				path := filepath.Join(w.dir, "leases", "net", p.addr(plan.Server).String())
				assert.NoError(w.t, os.WriteFile(path, []byte("thief\r\neth0"), 0o600))
				w.t.Cleanup(func() { assert.NoError(w.t, os.Remove(path)) })
			}
		}, []string{"lease: ", "checked"}},
		{"record", func(w *world, _ *pod) { assert.NoError(w.t, os.Remove(w.recordPath("checked"))) }, []string{"record"}},
		{"record, half", func(w *world, _ *pod) { assert.NoError(w.t, os.Truncate(w.recordPath("checked"), 20)) }, []string{"record"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			p := w.pod("checked")
			if err := p.tryAdd(list); err != nil {
				t.Fatal(describe(err))
			}
			t.Cleanup(func() { // undo the damage before the next case
				assert.NoError(t, p.tryDel(list))
				assert.NoError(t, p.Close())
				wipe()
			})
			assert.NoError(t, p.tryCheck(list)) // control
			stand := strings.NewReplacer("ADDR4", p.addr(w.V4.Server).String(), "ADDR6", p.addr(w.V6.Server).String(),
				"HOST", p.host(), "NETNS", p.Path(), "ID", w.policyID())
			c.take(w, p)
			err := p.tryCheck(list)
			e := new(types.Error)
			if !errors.As(err, &e) {
				t.Fatalf("CHECK: %v", err)
			}
			if e.Msg == "" || strings.Contains(e.Msg, "\n") {
				t.Errorf("msg %q", e.Msg)
			}
			for _, name := range c.names {
				if name = stand.Replace(name); !strings.Contains(e.Details, name) {
					t.Errorf("details lack %q: %s", name, describe(e))
				}
			}
			if err := beside.tryCheck(beside.list); err != nil && !strings.HasPrefix(c.name, "uplink") {
				t.Errorf("CHECK of another: %s", describe(err))
			}
			if strings.Contains(c.name, "alias") {
				// The link of another attachment is not removed, and DEL reports that.
				if err := p.tryDel(list); err == nil || !strings.Contains(describe(err), "net/thief/eth0") {
					t.Errorf("DEL: %v", err)
				}
				w.nodeRun("ip", "link", "set", p.host(), "alias", "net/checked/eth0")
			}
			// A damaged attachment can be removed.
			assert.NoError(t, p.tryDel(list))
			if !strings.HasSuffix(c.name, "of another") || strings.Contains(c.name, "alias") { // DEL keeps what belongs to another attachment
				unchanged(t, "left by DEL", w.traces(), before)
			}
		})
	}
}

// TestDelOfDamagedElements: DEL removes all elements of an attachment after they were changed by
// hand, also if other attachments keep the table.
func TestDelOfDamagedElements(t *testing.T) {
	for _, set := range []string{"policy4", "policy6", "sources4", "invalid4", "clamp4-1300", "helper4-ftp-tcp"} {
		for _, record := range []string{"whole", "gone"} {
			if record == "gone" && strings.HasPrefix(set, "policy") {
				continue // without the element and the record nothing shows which attachment had the address
			}
			t.Run(set+", record "+record, func(t *testing.T) {
				w := newWorld(t, nstest.Uplink{})
				w.attach("beside", w.namedConflist("other", "1.1.0", w.masqOn("10.99.0.0/24")))
				list := w.conflist("1.1.0", w.masq().With(keys{"helpers": keys{"ftp": []int{21}}, "mssClamp": 1300}))
				before := w.traces()
				p := w.pod("damaged")
				assert.NoError(t, p.tryAdd(list))
				key := p.addr(w.V4.Server).String()
				switch set {
				case "policy6":
					key = p.addr(w.V6.Server).String()
				case "sources4":
					key = fmt.Sprintf("%q . %s", p.host(), key)
				case "helper4-ftp-tcp":
					key += " . 21"
				}
				w.nft("delete element inet masq %s { %s }", set, key)
				if record == "gone" {
					assert.NoError(t, os.Remove(w.recordPath("damaged")))
				}
				assert.NoError(t, p.tryDel(list))
				unchanged(t, "left by DEL", w.traces(), before)
			})
		}
	}
}

// TestCheckChained is CHECK in chained mode: it compares the rules, and leaves the
// link to the other plugin.
func TestCheckChained(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.linkByNobody(), w.behind())
	p := w.attach("a", list)
	assert.NoError(t, p.tryCheck(list))
	for _, set := range []string{"policy4", "policy6", "clamp6-pmtu", "invalid4"} {
		t.Run(set, func(t *testing.T) {
			w := w.in(t)
			key, element := "10.77.0.5", ""
			if strings.Contains(set, "6") {
				key = "fd00:77::5"
			}
			if element = key; strings.HasPrefix(set, "policy") {
				element = fmt.Sprintf(`%s comment "net/a/eth0" : goto policy-%s`, key, w.policyID())
			}
			w.nft("delete element inet masq %s { %s }", set, key)
			if err := p.tryCheck(list); err == nil || !strings.Contains(describe(err), "element "+set+" "+key+": missing") {
				t.Errorf("CHECK: %v", err)
			}
			w.nft("add element inet masq %s { %s }", set, element)
			assert.NoError(t, p.tryCheck(list))
		})
	}
}
