package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// claimed makes a link with the address 10.88.0.200 for each container, and the node's
// route to it, by this verb of ip-route(8): add keeps an existing route, replace takes it
// over.
func (w *world) claimed(verb string) keys {
	w.t.Helper()
	w.withPlugin("claimed-"+verb, `
cat > /dev/null
h=h-$CNI_CONTAINERID
in="nsenter --net=$CNI_NETNS"
case $CNI_COMMAND in
ADD)
	exec 3>&1 1>&2
	set -e
	ip link add "$h" type veth peer name "$CNI_IFNAME" netns "$CNI_NETNS"
	ip address add 169.254.7.1/32 dev "$h"
	ip link set "$h" up
	echo 1 > /proc/sys/net/ipv4/ip_forward
	$in ip address add 10.88.0.200/32 dev "$CNI_IFNAME"
	$in ip link set "$CNI_IFNAME" up
	$in ip route add 169.254.7.1 dev "$CNI_IFNAME"
	$in ip route add default via 169.254.7.1
	ip route `+verb+` 10.88.0.200/32 dev "$h" || true
	cat >&3 <<-END
	{"cniVersion": "1.1.0",
	 "interfaces": [{"name": "$h"}, {"name": "$CNI_IFNAME", "sandbox": "$CNI_NETNS"}],
	 "ips": [{"address": "10.88.0.200/32", "interface": 1}]}
	END
	;;
DEL) ip link del "$h" || true
esac
`)
	return keys{"type": "claimed-" + verb}
}

// claimant returns a pod that requests the address that claimed gives.
func (w *world) claimant(id string) *pod {
	p := w.pod(id)
	p.runtime.Args = [][2]string{{"IP", "10.88.0.200"}}
	return p
}

// ruled returns the identity of the attachment whose rules apply to an address.
func (w *world) ruled(address string) string {
	out := w.nodeRun("nft", "list", "map", "inet", "masq", "policy4")
	_, after, _ := strings.Cut(out, address+" ")
	_, after, _ = strings.Cut(after, `comment "`)
	identity, _, _ := strings.Cut(after, `"`)
	return identity
}

// TestLiveAddressIsRefused: IPAM returns an address of a live container. That container
// keeps the address and loses no packet.
func TestLiveAddressIsRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		first  func(w *world) []keys // the plugins of the network of a
		second func(w *world) keys
		same   bool // network
	}{
		{"leases lost", func(w *world) []keys { return []keys{w.masq()} }, (*world).masq, true},
		{"leases lost, table lost", func(w *world) []keys { return []keys{w.masq()} }, (*world).masq, true},
		{"two networks", func(w *world) []keys { return []keys{w.masq()} }, (*world).masq, false},
		{"the first without a policy", func(w *world) []keys { return []keys{w.masq().With(keys{"ipMasq": false})} }, (*world).masq, false},
		{"the second without a policy", func(w *world) []keys { return []keys{w.masq()} }, func(w *world) keys { return w.masq().With(keys{"ipMasq": false}) }, false},
		{"the first chained", func(w *world) []keys { return []keys{w.claimed("add"), w.behind()} }, (*world).masq, false},
		{
			"the first chained, the second without a policy",
			func(w *world) []keys { return []keys{w.claimed("add"), w.behind()} },
			func(w *world) keys { return w.masq().With(keys{"ipMasq": false}) }, false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			first := w.conflist("1.1.0", test.first(w)...)
			a := w.claimant("a")
			a.attach(first)
			works := func() {
				t.Helper()
				if test.name != "the first without a policy" {
					w.seenAs(a, w.V4, w.V4.Node)
				}
				if err := a.tryCheck(first); err != nil && !test.same { // the lease is lost
					t.Errorf("CHECK of a: %s", describe(err))
				}
			}
			works()
			if test.same {
				assert.NoError(t, os.RemoveAll(filepath.Join(w.dir, "leases")))
			}
			if strings.Contains(test.name, "table lost") {
				w.nodeRun("nft", "delete", "table", "inet", "masq")
			}
			before := w.traces()
			stop := func() (int, error) { return 1, nil }
			if !strings.Contains(test.name, "table lost") && test.name != "the first without a policy" {
				stop = w.pingOn(a, w.V4)
			}

			b := w.claimant("b")
			add := call{verb: "ADD", id: "b", netns: b.Path(), conf: test.second(w), args: "IP=10.88.0.200"}
			if !test.same {
				add.conf = add.conf.With(keys{"name": "other"})
			}
			e := w.call(add).refused(ofAddress)
			for _, name := range []string{"10.88.0.200", "container a", "interface eth0", "network net"} {
				if !strings.Contains(e.Msg, name) {
					t.Errorf("does not name %q: %s", name, describe(&e))
				}
			}
			if !strings.Contains(e.Details, "subnet") && !strings.Contains(e.Details, "lease") {
				t.Errorf("does not suggest what to do: %s", describe(&e))
			}
			if n, err := stop(); err != nil || n == 0 {
				t.Errorf("a lost packets: %d answers, then %v", n, err)
			}
			unchanged(t, "left by the refused ADD", uncounted(w.traces()), uncounted(before))
			if links := assert.Must(b.LinkNames())(t); len(links) != 1 {
				t.Errorf("b still has %v", links)
			}
			// A runtime calls DEL after an ADD that failed.
			add.verb = "DEL"
			w.call(add).done(nil)
			unchanged(t, "left by DEL of b", uncounted(w.traces()), uncounted(before))

			// The control: with another address ADD succeeds.
			add.verb, add.args = "ADD", ""
			w.call(add).done(new(types100.Result))
			works()
			add.verb = "DEL"
			w.call(add).done(nil)
			works()
		})
	}
}

// TestAddressOfEndedContainer: the holder of an address is gone, and DEL was never called.
func TestAddressOfEndedContainer(t *testing.T) {
	for _, test := range []struct {
		name string
		list func(w *world) []keys // plugins of the network of a
	}{
		{"main", func(w *world) []keys { return []keys{w.masq()} }},
		{"chained", func(w *world) []keys { return []keys{w.claimed("add"), w.behind()} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list := w.conflist("1.1.0", w.masq().With(keys{"helpers": keys{"ftp": []int{21}}}))
			empty := w.traces()
			a := w.claimant("a")
			a.attach(w.conflist("1.1.0", test.list(w)...))
			links := len(assert.Must(w.Node.LinkNames())(t))
			assert.NoError(t, a.Close())
			until(t, "the link of a is gone", func() bool { return len(assert.Must(w.Node.LinkNames())(t)) == links-1 })
			assert.NoError(t, os.RemoveAll(filepath.Join(w.dir, "leases")))
			if !strings.Contains(w.traces(), "net/a/eth0") { // control
				t.Fatal("nothing of a remains before the ADD")
			}
			b := w.claimant("b")
			b.attach(list)
			works := func() {
				t.Helper()
				w.seenAs(b, w.V4, w.V4.Node)
				assert.NoError(t, b.tryCheck(list))
				if traces := w.traces(); strings.Contains(traces, "net/a/eth0") {
					t.Errorf("parts of a remain:\n%s", traces)
				}
			}
			works()
			assert.NoError(t, a.tryDel(list))
			a.list = nil
			works()
			b.detach()
			unchanged(t, "left behind", w.traces(), empty)
		})
	}
}

// TestDuplicateChained: the plugin that masq is chained to has given an address twice.
// When either attachment is removed, the other has its rules, and its route if the link
// belongs to masq.
func TestDuplicateChained(t *testing.T) {
	address := netip.MustParseAddr("10.88.0.200")
	for _, test := range []struct {
		name          string
		first, second func(w *world) []keys
	}{
		{
			"chained, chained",
			func(w *world) []keys { return []keys{w.claimed("add"), w.behind()} },
			func(w *world) []keys { return []keys{w.claimed("add"), w.behind()} },
		},
		{
			"chained, chained with its own policy",
			func(w *world) []keys { return []keys{w.claimed("add"), w.behind()} },
			func(w *world) []keys {
				return []keys{w.claimed("add"), w.behind().With(keys{"mssClamp": 1300, "helpers": keys{"ftp": []int{21}}})}
			},
		},
		{
			"main, chained",
			func(w *world) []keys { return []keys{w.masq().With(keys{"helpers": keys{"ftp": []int{21}}})} },
			func(w *world) []keys { return []keys{w.claimed("replace"), w.behind()} },
		},
	} {
		for _, masqd := range []bool{false, true} {
			for _, goes := range []string{"first", "second"} {
				name := test.name + ", " + goes + " goes"
				if masqd {
					name += ", with masqd"
				}
				t.Run(name, func(t *testing.T) {
					w := newWorld(t, nstest.Uplink{})
					if masqd {
						w.daemon()
					}
					first := w.conflist("1.1.0", test.first(w)...)
					second := w.namedConflist("other", "1.1.0", test.second(w)...)
					a, b := w.claimant("a"), w.pod("b")
					a.attach(first)
					w.seenAs(a, w.V4, w.V4.Node)
					quiet := w.call(call{verb: "STATUS", conf: w.behind()})
					quiet.done(nil)
					if strings.Contains(quiet.stderr, address.String()) { // the control
						t.Errorf("STATUS before: %s", quiet.stderr)
					}

					b.attach(second)
					if got := w.ruled(address.String()); got != "other/b/eth0" {
						t.Errorf("the rules belong to %q", got)
					}
					status := w.call(call{verb: "STATUS", conf: w.behind()})
					status.done(nil)
					for _, name := range []string{address.String(), "net/a/eth0", "other/b/eth0"} {
						if !strings.Contains(status.stderr, name) {
							t.Errorf("STATUS does not name %s: %q", name, status.stderr)
						}
					}

					gone, left := b, a
					if goes == "first" {
						gone, left = a, b
					}
					gone.detach()
					want := "net/a/eth0"
					if left == b {
						want = "other/b/eth0"
					}
					if got := w.ruled(address.String()); got != want {
						t.Errorf("the rules belong to %q, want %s", got, want)
					}
					if test.name != "main, chained" || left == b {
						// The other plugin does not restore its routes.
						w.nodeRun("ip", "route", "replace", address.String(), "dev", "h-"+left.runtime.ContainerID)
					}
					w.seenAs(left, w.V4, w.V4.Node)
					assert.NoError(t, left.tryCheck(left.list))
					quiet = w.call(call{verb: "STATUS", conf: w.behind()})
					quiet.done(nil)
					if strings.Contains(quiet.stderr, address.String()) {
						t.Errorf("STATUS after: %s", quiet.stderr)
					}
					left.detach()
					if masqd {
						until(t, "the table is gone", func() bool { return !strings.Contains(w.traces(), "inet masq") })
					}
					traces := strings.ReplaceAll(w.traces(), filepath.Join(w.dir, "state", "attachments", "masqd.lock"), "")
					if strings.Contains(traces, "inet masq") || strings.Contains(traces, filepath.Join(w.dir, "state")) {
						t.Errorf("remaining:\n%s", traces)
					}
				})
			}
		}
	}
}
