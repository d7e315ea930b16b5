package runtimes

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// speaker runs pod in a container.
type speaker interface{ exec(args ...string) }

// source returns the source address of a container's datagram at the server, which need not
// have a route back to it.
func (n *node) source(s speaker, server netip.Addr, word string) netip.Addr {
	n.t.Helper()
	seen := assert.Must(n.Server.Capture("eth0", func(p nstest.Packet) bool { return !p.Outgoing && p.Proto == unix.IPPROTO_UDP }))(n.t)
	defer seen.Close()
	s.exec("say", at(server, 9).String(), word)
	p, err := seen.WaitFor(soon(n.t), func(p nstest.Packet) bool { return string(p.Payload) == word })
	if err != nil {
		n.t.Fatalf("the server did not receive %q: %v", word, err)
	}
	return p.Src
}

// direct is an address of the server that masq's configuration lists as direct.
var direct = netip.MustParseAddr("198.51.100.9")

// addDirect adds that address to the server.
func (n *node) addDirect() {
	n.t.Helper()
	assert.NoError(n.t, n.Server.AddAddress("eth0", netip.PrefixFrom(direct, 24)))
}

// translated checks that packets of a container with these addresses arrive with the node's
// address, except at direct destinations.
func (n *node) translated(s speaker, addrs []netip.Addr, when string) {
	n.t.Helper()
	for _, plan := range n.Plans()[:len(addrs)] {
		if from := n.source(s, plan.Server, "masqueraded "+when); from != plan.Node {
			n.t.Errorf("%s: the server sees %s instead of the node's %s", when, from, plan.Node)
		}
		// A connection needs answers too. The container reads the answer.
		srv := assert.Must(n.Server.ServeTCP(at(plan.Server, 0)))(n.t)
		s.exec("ask", srv.Addr().String())
		if seen := assert.Must(srv.WaitSources(soon(n.t), 1))(n.t); seen[0].Addr() != plan.Node {
			n.t.Errorf("%s: the server has a connection from %s", when, seen[0])
		}
		assert.NoError(n.t, srv.Close())
	}
	if from := n.source(s, direct, "direct "+when); from != addrs[0] {
		n.t.Errorf("%s: a direct destination sees %s instead of the container's %s", when, from, addrs[0])
	}
}

// untranslated is the control: the server sees the container's own address.
func (n *node) untranslated(s speaker, addrs []netip.Addr) {
	n.t.Helper()
	for i, plan := range n.Plans()[:len(addrs)] {
		if from := n.source(s, plan.Server, "control"); from != addrs[i] {
			n.t.Fatalf("without masq the server sees %s instead of the container's %s", from, addrs[i])
		}
	}
}

// unchanged compares traces.
func unchanged(t testing.TB, what, after, before string) {
	t.Helper()
	if after == before {
		return
	}
	lines := func(s string) map[string]bool {
		out := map[string]bool{}
		for line := range strings.Lines(s) {
			out[line] = true
		}
		return out
	}
	had, has := lines(before), lines(after)
	var b strings.Builder
	for line := range strings.Lines(after) {
		if !had[line] {
			b.WriteString("+ " + line)
		}
	}
	for line := range strings.Lines(before) {
		if !has[line] {
			b.WriteString("- " + line)
		}
	}
	t.Errorf("%s:\n%s", what, b.String())
}

// traces returns everything that could remain in the node: rules, links, routes, records,
// leases, libcni's cache, network namespaces, programs.
func (n *node) traces() string {
	n.t.Helper()
	return n.must(`nft list ruleset
ip -o link | sed -E 's/^[0-9]+: ([^:@]+).*/link \1/'
# A bridge loses its carrier some time after its last port.
(ip route; ip -6 route) | sed 's/ linkdown//'
for dir in /run/masq-cni /var/lib/cni /run/netns; do
	[ ! -e $dir ] || find $dir -type f ! -name '*lock' ! -name 'last_reserved_ip.*'
done
ps -eo comm= | grep -E '^(masq|ptp|bridge|host-local|pod|conmon|containerd-shim)' || true`)
}
