package nft

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// kernel gives the test its own network namespace and a connection to its nftables. The
// test's goroutine stays on a thread that ends with it, and so does the namespace.
func kernel(t testing.TB) *Conn {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare: %v: this test needs root", err)
	}
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// nftables runs the nft program in the test's namespace.
func nftables(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("nft", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("nft %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func attachment(id string, p masq.Policy, addrs ...string) masq.Attachment {
	a := masq.Attachment{Key: masq.Key{Network: "net", ContainerID: id, Interface: "eth0"}, Policy: &p, SpoofCheck: true}
	for _, s := range addrs {
		a.Addresses = append(a.Addresses, netip.MustParseAddr(s))
	}
	return a
}

// rich returns a policy that uses everything that a ruleset can have.
func rich(t testing.TB) masq.Policy {
	t.Helper()
	p := masq.Default()
	p.NonMasquerade = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	p.Masquerade = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
	p.ToPorts = []masq.PortRange{{First: 20000, Last: 29999}, {First: 40000, Last: 40999}}
	p.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")}
	for _, k := range masq.HelperKinds {
		p.Helpers = append(p.Helpers, masq.Helper{Name: k.Name, Ports: append(k.Ports(), 4000)})
	}
	clamp, err := masq.ClampTo(1300)
	if err != nil {
		t.Fatal(err)
	}
	p.MSSClamp = clamp
	p.MSSClamps = masq.MSSClamps{
		netip.MustParsePrefix("198.51.100.0/24"): 172, netip.MustParsePrefix("198.51.100.64/26"): 500,
		netip.MustParsePrefix("255.0.0.0/8"): 900, netip.MustParsePrefix("2001:db8::/32"): 1220, netip.MustParsePrefix("::/0"): 1300,
	}
	return p
}

func several(t testing.TB) []masq.Attachment {
	t.Helper()
	direct := masq.Default()
	direct.EgressDirect = true
	plain := masq.Default()
	plain.RandomFully = false
	plain.ToPorts = []masq.PortRange{{First: 1024, Last: 65535}}
	plain.MSSClamp = masq.ClampOff
	plain.DropInvalid = false
	return []masq.Attachment{
		attachment("a", rich(t), "10.88.0.5", "fd00:88::5"),
		attachment("b", masq.Default(), "10.88.0.6"),
		attachment("c", direct, "10.88.0.7", "fd00:88::7"),
		attachment("d", plain, "fd00:88::8"),
	}
}

// everyEgress has the addresses that rich names, and hasAll reports that the node has
// every address.
var everyEgress = ruleset.Egress{Addresses: map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true, netip.MustParseAddr("192.0.2.2"): true, netip.MustParseAddr("2001:db8::1"): true}}

func hasAll(netip.Addr) (bool, error) { return true, nil }

// others returns sources that another plugin set up.
func others(t testing.TB) ruleset.Sources {
	t.Helper()
	p := rich(t)
	p.Node = true
	return ruleset.Sources{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/56")}, Policy: p}
}

// sorted sorts the elements of each set, because the kernel lists them by hash.
func sorted(listing string) string {
	var out []string
	lines := strings.Split(listing, "\n")
	for i := 0; i < len(lines); i++ {
		if !strings.Contains(lines[i], "elements = {") {
			out = append(out, lines[i])
			continue
		}
		joined := lines[i]
		for !strings.Contains(lines[i], " }") {
			i++
			joined += " " + strings.TrimSpace(lines[i])
		}
		all := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(joined), "elements = { "), " }")
		items := strings.Split(all, ",")
		for j := range items {
			items[j] = strings.TrimSpace(items[j])
		}
		slices.Sort(items)
		out = append(out, "elements "+strings.Join(items, ", "))
	}
	return strings.Join(out, "\n")
}

// differ reports the lines in which two listings differ.
func differ(t testing.TB, got, want string) {
	t.Helper()
	g, w := strings.Split(sorted(got), "\n"), strings.Split(sorted(want), "\n")
	for i, j := range common(g, w) {
		if j < 0 {
			t.Errorf("nft lists %q", g[i])
		}
	}
	for i, j := range common(w, g) {
		if j < 0 {
			t.Errorf("nft does not list %q", w[i])
		}
	}
}

func TestReadBack(t *testing.T) {
	c := kernel(t)
	want := ruleset.For(several(t), others(t), everyEgress)
	if _, err := c.Apply(want); err != nil {
		t.Fatal(err)
	}
	listing := nftables(t, "", "list", "table", "inet", "masq")
	differ(t, listing, want.String())
	nftables(t, listing, "-c", "-f", "-")
	if changes, err := c.Drift(want, ruleset.Table{}); err != nil || len(changes) > 0 {
		t.Errorf("the table that was written reads back as different: %v, %v", changes, err)
	}
}

// TestCompile: the kernel lists the same rules whether nft or this package compiled them.
func TestCompile(t *testing.T) {
	c := kernel(t)
	want := ruleset.For(several(t), others(t), everyEgress)
	nftables(t, want.String(), "-f", "-")
	changes, err := c.Drift(want, ruleset.Table{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range changes {
		t.Error(x)
	}
}

func TestApplyRepairs(t *testing.T) {
	direct := "direct4-" + masq.Default().ID()
	mss := "mss4-" + rich(t).ID()
	chain := ruleset.PolicyChain(masq.Default())
	for _, tt := range []struct{ name, change, found string }{
		{"table deleted", "delete table inet masq", "table inet masq: missing"},
		{"table flushed", "flush table inet masq", "rule postrouting postrouting/policy4: missing"},
		{"table dormant", "add table inet masq { flags dormant; }", "table inet masq: has flags 0x1, not 0"},
		{"chain flushed", "flush chain inet masq " + chain, "rule " + chain + " policy/egress: missing"},
		{"unexpected rule", "insert rule inet masq postrouting accept", "rule postrouting handle "},
		{"unexpected rule with an anonymous set", "insert rule inet masq postrouting ip saddr { 10.1.1.1, 10.1.1.2 } accept", "rule postrouting handle "},
		{"unexpected rule last", "add rule inet masq " + chain + " drop", "rule " + chain + " handle "},
		{"element deleted", "delete element inet masq policy4 { 10.88.0.6 }", "element policy4 10.88.0.6: missing"},
		{"element to another chain", "delete element inet masq policy4 { 10.88.0.6 }; add element inet masq policy4 { 10.88.0.6 comment \"net/b/eth0\" : goto policy-" + directPolicy().ID() + " }", `element policy4 10.88.0.6: has chain "policy-` + directPolicy().ID()},
		{"comment changed", "delete element inet masq policy4 { 10.88.0.6 }; add element inet masq policy4 { 10.88.0.6 comment \"x\" : goto " + chain + " }", `comment "x"`},
		{"unexpected element", "add element inet masq policy4 { 10.1.1.1 : goto " + chain + " }", "element policy4 10.1.1.1: unexpected"},
		{"element of a plain set", "add element inet masq invalid4 { 10.1.1.1 }", "element invalid4 10.1.1.1: unexpected"},
		{"direct destination deleted", "delete element inet masq " + direct + " { 169.254.0.0/16 }", "element " + direct + ": has other ranges"},
		{"direct destination added", "add element inet masq " + direct + " { 1.0.0.0/8 }", "element " + direct + ": has other ranges"},
		{"MSS changed", "delete element inet masq " + mss + " { 198.51.100.64/26 }; add element inet masq " + mss + " { 198.51.100.64/26 : 501 }", "element " + mss + ": has other ranges"},
		{"MSS deleted", "delete element inet masq " + mss + " { 198.51.100.64/26 }", "element " + mss + ": has other ranges"},
		{"attachment without its MSS", "delete element inet masq attached4-" + rich(t).ID() + " { 10.88.0.5 }", "element attached4-" + rich(t).ID() + " 10.88.0.5: missing"},
		{"address type deleted", "delete element inet masq never { multicast }", "element never multicast: missing"},
		{"unexpected set", "add set inet masq theirs { type ipv4_addr; }", "set theirs: unexpected"},
		{"unexpected chain", "add chain inet masq theirs { accept; }", "chain theirs: unexpected"},
		{"unexpected base chain", "add chain inet masq theirs { type filter hook input priority 0; policy drop; }", "chain theirs: unexpected"},
		{"chain policy", "chain inet masq forward { policy drop; }", "chain forward: has another policy than accept"},
		{"priority", "delete chain inet masq forward; add chain inet masq forward { type filter hook forward priority 7; }", "chain forward: is of type filter at hook forward, priority 7, not of type filter at hook forward, priority mangle"},
		{"set of another type", "flush chain inet masq invalid; delete set inet masq invalid4; add set inet masq invalid4 { type ipv4_addr; flags interval; }", "set invalid4: has another type"},
		{"rule weakened", "flush chain inet masq invalid; add rule inet masq invalid ip saddr @invalid4 counter accept comment \"invalid/drop4\"", "rule invalid invalid/drop4: changed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := kernel(t)
			want := ruleset.For(append(several(t), attachment("x", directPolicy(), "10.88.0.99")), ruleset.Sources{}, everyEgress)
			if _, err := c.Apply(want); err != nil {
				t.Fatal(err)
			}
			nftables(t, strings.ReplaceAll(tt.change, "; delete", "\ndelete"), "-f", "-")
			changes, err := c.Apply(want)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(changes, func(x Difference) bool { return strings.Contains(x.String(), tt.found) }) {
				t.Errorf("found %v, not %q", changes, tt.found)
			}
			differ(t, nftables(t, "", "list", "table", "inet", "masq"), want.String())
		})
	}
}

func directPolicy() masq.Policy {
	p := masq.Default()
	p.EgressDirect = true
	return p
}

func TestAddAndRemove(t *testing.T) {
	c := kernel(t)
	nftables(t, "table inet other { chain c { type nat hook postrouting priority srcnat; masquerade; }; }", "-f", "-")
	before := nftables(t, "", "list", "ruleset")
	all := several(t)
	for i, a := range all {
		if err := c.Add(a, hasAll, func() ([]masq.Attachment, error) { return all[:i+1], nil }, nil); err != nil {
			t.Fatal(err)
		}
		for _, seen := range all[:i+1] {
			if changes, err := c.Check(seen, hasAll); err != nil || len(changes) > 0 {
				t.Fatalf("after adding %s, %s has %v, %v", a.Key, seen.Key, changes, err)
			}
		}
	}
	if changes, err := c.Drift(ruleset.For(all, ruleset.Sources{}, everyEgress), ruleset.Table{}); err != nil || len(changes) > 0 {
		t.Errorf("attachments added one by one differ from those added together: %v, %v", changes, err)
	}
	for i, a := range all {
		if i%2 == 1 {
			a.Addresses, a.Policy = nil, nil // as if there were no record
		}
		for range 2 {
			if err := c.Remove(a, hasAll); err != nil {
				t.Fatal(err)
			}
		}
		for _, left := range all[i+1:] {
			if changes, err := c.Check(left, hasAll); err != nil || len(changes) > 0 {
				t.Fatalf("after removing %s, %s has %v, %v", a.Key, left.Key, changes, err)
			}
		}
	}
	if after := nftables(t, "", "list", "ruleset"); after != before {
		t.Errorf("objects are left:\n%s", after)
	}
}

// TestReusedAddress: ADD A, ADD B with the address of A, DEL A: B is kept.
func TestReusedAddress(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("record of A %t", known), func(t *testing.T) {
			c := kernel(t)
			a, b := attachment("a", rich(t), "10.88.0.5"), attachment("b", masq.Default(), "10.88.0.5")
			for _, x := range []masq.Attachment{a, b, b} {
				if err := c.Add(x, hasAll, func() ([]masq.Attachment, error) { return []masq.Attachment{x}, nil }, nil); err != nil {
					t.Fatal(err)
				}
			}
			removed := a
			if !known {
				removed.Addresses, removed.Policy = nil, nil
			}
			if err := c.Remove(removed, hasAll); err != nil {
				t.Fatal(err)
			}
			if changes, err := c.Check(b, hasAll); err != nil || len(changes) > 0 {
				t.Errorf("B lacks %v, %v", changes, err)
			}
			listing := nftables(t, "", "list", "table", "inet", "masq")
			if strings.Contains(listing, "net/a/") || strings.Contains(listing, a.Policy.ID()) {
				t.Errorf("A still exists:\n%s", listing)
			}
			if err := c.Remove(b, hasAll); err != nil {
				t.Fatal(err)
			}
			if left := nftables(t, "", "list", "ruleset"); left != "" {
				t.Errorf("objects are left:\n%s", left)
			}
		})
	}
}

// TestAddReplaces: the result of replace decides whether Add takes an address from its
// holder.
func TestAddReplaces(t *testing.T) {
	c := kernel(t)
	a, b := attachment("a", rich(t), "10.88.0.5"), attachment("b", masq.Default(), "10.88.0.4", "10.88.0.5")
	all := func() ([]masq.Attachment, error) { return []masq.Attachment{a}, nil }
	var asked []string
	refuse := func(identity string) error {
		asked = append(asked, identity)
		return fs.ErrPermission
	}
	if err := c.Add(a, hasAll, all, refuse); err != nil {
		t.Fatal(err)
	}
	if err := c.Add(a, hasAll, all, refuse); err != nil || len(asked) > 0 {
		t.Errorf("Add again: %v, replace was called with %q", err, asked)
	}
	before := nftables(t, "", "list", "ruleset")
	if err := c.Add(b, hasAll, nil, refuse); err != fs.ErrPermission || !slices.Equal(asked, []string{a.Identity()}) { //nolint:errorlint // unchanged
		t.Errorf("Add of an address that is refused: %v, replace was called with %q", err, asked)
	}
	if after := nftables(t, "", "list", "ruleset"); after != before {
		t.Errorf("after an Add that was refused:\n%s\nbefore:\n%s", after, before)
	}
	if err := c.Add(b, hasAll, nil, func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if changes, err := c.Check(b, hasAll); err != nil || len(changes) > 0 {
		t.Errorf("B lacks %v, %v", changes, err)
	}
}

// TestRemoveWithSuccessor: DEL of the attachment that has the elements of an address gives
// them to its successor in the same transaction, and leaves nothing else.
func TestRemoveWithSuccessor(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("record of B %t", known), func(t *testing.T) {
			c := kernel(t)
			a, b := attachment("a", rich(t), "10.88.0.5", "fd00:88::5"), attachment("b", masq.Default(), "10.88.0.4", "10.88.0.5", "fd00:88::5")
			if _, err := c.Apply(ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, everyEgress)); err != nil {
				t.Fatal(err)
			}
			alone := nftables(t, "", "list", "ruleset")
			if err := c.Add(b, hasAll, nil, nil); err != nil {
				t.Fatal(err)
			}
			if changes, err := c.Drift(ruleset.For([]masq.Attachment{a, b}, ruleset.Sources{}, everyEgress), ruleset.Table{}); err != nil || len(changes) > 0 {
				t.Errorf("with both: %v, %v", changes, err)
			}
			removed := b
			if !known {
				removed.Addresses, removed.Policy = nil, nil
			}
			if err := c.Remove(removed, hasAll, a); err != nil {
				t.Fatal(err)
			}
			if changes, err := c.Drift(ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, everyEgress), ruleset.Table{}); err != nil || len(changes) > 0 {
				t.Errorf("A lacks %v, %v", changes, err)
			}
			if after := nftables(t, "", "list", "ruleset"); after != alone {
				t.Errorf("after:\n%s\nbefore:\n%s", after, alone)
			}
			// The second DEL of B changes nothing.
			if err := c.Remove(removed, hasAll, a); err != nil {
				t.Fatal(err)
			}
			if after := nftables(t, "", "list", "ruleset"); after != alone {
				t.Errorf("after the second DEL:\n%s\nbefore:\n%s", after, alone)
			}
			if err := c.Remove(a, hasAll); err != nil {
				t.Fatal(err)
			}
			if left := nftables(t, "", "list", "ruleset"); left != "" {
				t.Errorf("objects are left:\n%s", left)
			}
		})
	}
}

func TestMissingHelpers(t *testing.T) {
	c := kernel(t)
	missing, err := c.MissingHelpers(rich(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) > 0 {
		t.Errorf("this kernel has all helpers, but not %v", missing)
	}
	if left := nftables(t, "", "list", "ruleset"); left != "" {
		t.Errorf("objects are left by the query:\n%s", left)
	}
	masq.HelperKinds = append(masq.HelperKinds, masq.HelperKind{Name: "none", Module: "nf_conntrack_none", Assign: []masq.Assignment{{Kernel: "none", Protocol: "tcp"}}})
	defer func() { masq.HelperKinds = masq.HelperKinds[:len(masq.HelperKinds)-1] }()
	p := masq.Default()
	p.Helpers = []masq.Helper{{Name: "none", Ports: []uint16{1}}, {Name: "ftp", Ports: []uint16{21}}}
	missing, err = c.MissingHelpers(p)
	if err != nil || len(missing) != 1 || missing[0].Module != "nf_conntrack_none" {
		t.Errorf("missing %v, %v", missing, err)
	}
}

// TestNodePolicyChangesInPlace: when the node's policy changes, rules change in place and
// elements keep their counters. Other attachments can be added and removed meanwhile.
func TestNodePolicyChangesInPlace(t *testing.T) {
	c := kernel(t)
	node := masq.Default()
	node.Node = true
	changed := node
	changed.NonMasquerade = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	changed.ToPorts = []masq.PortRange{{First: 20000, Last: 29999}}
	a, b := attachment("a", node, "10.88.0.5"), attachment("b", masq.Default(), "10.88.0.6")
	sources := ruleset.Sources{Prefixes: others(t).Prefixes, Policy: node}
	if _, err := c.Apply(ruleset.For([]masq.Attachment{a}, sources, everyEgress)); err != nil {
		t.Fatal(err)
	}
	id := nftables(t, "", "-a", "list", "map", "inet", "masq", "policy4")
	a.Policy, sources.Policy = &changed, changed
	changes, err := c.Apply(ruleset.For([]masq.Attachment{a}, sources, everyEgress))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range changes {
		if x.Kind == KindTable || x.Parent == "policy4" || x.Object == "policy4" {
			t.Errorf("more than rules changed: %s", x)
		}
	}
	if after := nftables(t, "", "-a", "list", "map", "inet", "masq", "policy4"); after != id {
		t.Errorf("the map was %s, is %s", id, after)
	}
	// A plugin that knows neither the sources nor the other attachments keeps them.
	if err := c.Add(b, hasAll, nil, nil); err != nil {
		t.Fatal(err)
	}
	if changes, err := c.Drift(ruleset.For([]masq.Attachment{a, b}, sources, everyEgress), ruleset.Table{}); err != nil || len(changes) > 0 {
		t.Errorf("after ADD with sources: %v, %v", changes, err)
	}
	if err := c.Remove(b, hasAll); err != nil {
		t.Fatal(err)
	}
	if changes, err := c.Drift(ruleset.For([]masq.Attachment{a}, sources, everyEgress), ruleset.Table{}); err != nil || len(changes) > 0 {
		t.Errorf("after DEL with sources: %v, %v", changes, err)
	}
	if err := c.Remove(a, hasAll); err != nil {
		t.Fatal(err)
	}
	if changes, err := c.Drift(ruleset.For(nil, sources, everyEgress), ruleset.Table{}); err != nil || len(changes) > 0 {
		t.Errorf("after the last DEL with sources: %v, %v", changes, err)
	}
}

// TestRemoveKeepsFeaturesOfSources: DEL of the last attachment with a helper keeps the objects
// of the helper if sourceCIDRs have it too.
func TestRemoveKeepsFeaturesOfSources(t *testing.T) {
	c := kernel(t)
	ftp := masq.Default()
	ftp.Helpers = []masq.Helper{{Name: "ftp", Ports: []uint16{21}}}
	node := ftp
	node.Node = true
	a := attachment("a", ftp, "10.88.0.5")
	sources := ruleset.Sources{Prefixes: others(t).Prefixes, Policy: node}
	if _, err := c.Apply(ruleset.For([]masq.Attachment{a}, sources, everyEgress)); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(a, hasAll); err != nil {
		t.Fatal(err)
	}
	if changes, err := c.Drift(ruleset.For(nil, sources, everyEgress), ruleset.Table{}); err != nil || len(changes) > 0 {
		t.Errorf("%v, %v", texts(changes), err)
	}
}

// nftablesFails runs a command that has to fail, and returns its output.
func nftablesFails(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("nft", args...).CombinedOutput()
	if err == nil {
		t.Errorf("nft %s succeeds", strings.Join(args, " "))
	}
	return string(out)
}
