package veth

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// serverOf is the address of the lab's server that an address can reach.
func serverOf(a netip.Addr) string {
	if a.Is4() {
		return server4
	}
	return server6
}

// reach sends one packet each way between the container and the server, and
// from the node to the container.
func (l *lab) reach(t *testing.T, c *space, p Pair) {
	t.Helper()
	for _, a := range p.Addresses {
		if err := c.ask(serverOf(a.Addr())); err != nil {
			t.Errorf("container %s to server: %v", a.Addr(), err)
		}
		if err := l.server.ask(a.Addr().String()); err != nil {
			t.Errorf("server to container %s: %v", a.Addr(), err)
		}
		if err := l.node.ask(a.Addr().String()); err != nil {
			t.Errorf("node to container %s: %v", a.Addr(), err)
		}
	}
}

// After Add, the first packet passes in each direction: without a wait for duplicate
// address detection, a worker of the kernel, or ARP.
func TestAddCarriesTrafficAtOnce(t *testing.T) {
	for _, stack := range stacks {
		t.Run(stack.name, func(t *testing.T) {
			lab := newLab(t)
			for n := 2; n < 12; n++ {
				c := newSpace(t)
				c.serveEcho("::")
				p := pair(c, n, stack.families...)
				mustAdd(t, lab.conn, p)
				lab.reach(t, c, p)
				if found := differences(t, lab.conn, p); found != nil {
					t.Errorf("differences: %q", found)
				}
			}
		})
	}
}

func TestAddMakesTheLink(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	p := pair(c, 5, "4", "6")
	p.MTU = 1400
	l := mustAdd(t, lab.conn, p)

	host, inside := lab.node.link(p.HostName).Attrs(), c.link("eth0").Attrs()
	for _, end := range []*netlink.LinkAttrs{host, inside} {
		if end.MTU != 1400 || end.NumTxQueues != 1 || end.NumRxQueues != 1 {
			t.Errorf("%s: MTU %d, %d and %d queues", end.Name, end.MTU, end.NumTxQueues, end.NumRxQueues)
		}
	}
	if host.Group != p.group() || host.Alias != p.Identity || host.Index != l.HostIndex {
		t.Errorf("host's end: group %d, alias %q, index %d", host.Group, host.Alias, host.Index)
	}
	if host.HardwareAddr.String() != l.HostMAC.String() || inside.HardwareAddr.String() != l.MAC.String() {
		t.Errorf("MACs are %s and %s, Add returned %s and %s", host.HardwareAddr, inside.HardwareAddr, l.HostMAC, l.MAC)
	}
	const set = "3" // NET_ADDR_SET: udev leaves the MAC alone
	if got := lab.node.readSys(p.HostName + "/addr_assign_type"); got != set {
		t.Errorf("addr_assign_type of the host's end is %s, want %s", got, set)
	}
	if got := c.readSys("eth0/addr_assign_type"); got != set {
		t.Errorf("addr_assign_type of the container's end is %s, want %s", got, set)
	}
	if got := lab.node.readSysctl("net/ipv6/conf/" + p.HostName + "/accept_ra"); got != "0" {
		t.Errorf("accept_ra of the host's end is %s: a container could become the node's router", got)
	}
	if got := lab.node.readSysctl("net/ipv4/conf/" + p.HostName + "/rp_filter"); got != lab.node.readSysctl("net/ipv4/conf/default/rp_filter") {
		t.Errorf("rp_filter of the host's end is %s: want the default of the node", got)
	}
}

// An IPv4 attachment has no IPv6 address at either end.
func TestAddIPv4AloneMakesNoIPv6Address(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	p := pair(c, 5, "4")
	mustAdd(t, lab.conn, p)
	for _, end := range []struct {
		*space
		name string
	}{{lab.node, p.HostName}, {c, "eth0"}} {
		a, err := end.AddrList(end.link(end.name), unix.AF_INET6)
		if err != nil || len(a) != 0 {
			t.Errorf("%s has %v (%v)", end.name, a, err)
		}
	}
}

func TestAddWithRoutes(t *testing.T) {
	lab := newLab(t)
	lab.server.addr("srv0", "192.0.2.1/32")
	lab.server.addr("srv0", "2001:db8::1/128")
	lab.server.serveEcho("192.0.2.1", "2001:db8::1")
	c := newSpace(t)
	c.serveEcho("::")
	p := pair(c, 5, "4", "6")
	p.Routes = []masq.Route{
		{Dst: netip.MustParsePrefix("10.0.0.0/24")},
		{Dst: netip.MustParsePrefix("192.0.2.1/24"), GW: netip.MustParseAddr("10.88.0.1")},
		{Dst: netip.MustParsePrefix("fd00:10::/64")},
		{Dst: netip.MustParsePrefix("2001:db8::/32"), GW: netip.MustParseAddr("fd00:88::1")},
	}
	mustAdd(t, lab.conn, p)
	lab.reach(t, c, p)
	for _, to := range []string{"192.0.2.1", "2001:db8::1"} {
		if err := c.ask(to); err != nil {
			t.Errorf("through a configured gateway: %s: %v", to, err)
		}
	}
	for _, to := range []string{"198.51.100.1", "2001:db9::1"} {
		if err := c.ask(to); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("%s has no route, got %v", to, err)
		}
	}
	if found := differences(t, lab.conn, p); found != nil {
		t.Errorf("differences: %q", found)
	}

	// A second link of the same container.
	q := pair(c, 6, "4", "6")
	q.Interface = "net1"
	if _, err := lab.conn.Add(q); err != nil {
		t.Errorf("a second link takes the default routes: %v", err)
	}
	r := pair(c, 7, "4", "6")
	r.Interface = "net2"
	before := lab.node.links()
	_, err := lab.conn.Add(r)
	if err == nil || !strings.Contains(err.Error(), "ipam.routes") || !errors.Is(err, unix.EEXIST) {
		t.Errorf("a third link with default routes: %v", err)
	}
	if lab.node.links() != before || c.links() != 3 {
		t.Errorf("a failed Add left %d links on the node, %d in the container", lab.node.links(), c.links())
	}
}

// A container whose link exists keeps its address: Add names the link and does not
// change the route.
func TestAddAddressInUse(t *testing.T) {
	lab := newLab(t)
	c, other := newSpace(t), newSpace(t)
	c.serveEcho("::")
	first, second := pair(c, 5, "4", "6"), pair(other, 6, "4", "6")
	second.Addresses = first.Addresses
	mustAdd(t, lab.conn, first)
	lab.reach(t, c, first)
	before := lab.node.links()
	_, err := lab.conn.Add(second)
	taken := new(AddressInUseError)
	want := AddressInUseError{first.Addresses[0].Addr(), first.HostName, first.Identity}
	if !errors.As(err, &taken) || *taken != want {
		t.Errorf("Add: %v, want %v", err, want)
	}
	if lab.node.links() != before {
		t.Errorf("a failed Add left %d links, want %d", lab.node.links(), before)
	}
	lab.reach(t, c, first)
	if found := differences(t, lab.conn, first); found != nil {
		t.Errorf("differences: %q", found)
	}
	if err := lab.conn.Delete(first.hostLink()); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, lab.conn, second) // the control: nothing else was in the way
}

// RestoreRoutes replaces routes that lead to another interface.
func TestRestoreRoutes(t *testing.T) {
	lab := newLab(t)
	c, other := newSpace(t), newSpace(t)
	c.serveEcho("::")
	p, q := pair(c, 5, "4", "6"), pair(other, 6, "4", "6")
	mustAdd(t, lab.conn, p)
	mustAdd(t, lab.conn, q)
	var addresses []netip.Addr
	for _, a := range p.Addresses {
		addresses = append(addresses, a.Addr())
	}
	if err := lab.conn.RestoreRoutes(q.HostName, q.Identity, addresses); err != nil {
		t.Fatal(err)
	}
	if differences(t, lab.conn, p) == nil { // the control
		t.Error("the routes lead to another interface, and Compare finds no difference")
	}
	if err := lab.conn.RestoreRoutes(p.HostName, p.Identity, addresses); err != nil {
		t.Fatal(err)
	}
	lab.reach(t, c, p)
	for _, x := range []Pair{p, q} {
		if found := differences(t, lab.conn, x); found != nil {
			t.Errorf("%s: differences: %q", x.HostName, found)
		}
	}
	if err := lab.conn.RestoreRoutes(p.HostName, "another", addresses); !errors.Is(err, ErrAliasMismatch) {
		t.Errorf("a link of another identity: %v", err)
	}
	if err := lab.conn.RestoreRoutes("veth00000000009", "another", addresses); err != nil {
		t.Errorf("a missing link: %v", err)
	}
}

func TestAddRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(l *lab, c *space, p *Pair)
		want    []string
	}{
		{"a host's name that is in use", func(l *lab, _ *space, p *Pair) {
			l.node.must(l.node.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: p.HostName}, PeerName: "other"}))
			l.node.must(l.node.LinkSetAlias(l.node.link(p.HostName), "another"))
		}, []string{"another", "veth00000000005"}},
		{"a container's name that is in use", func(_ *lab, c *space, _ *Pair) {
			c.must(c.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "other"}))
		}, []string{"eth0", "/proc/self/fd/", "already exists"}},
		{"a second default route", func(_ *lab, c *space, _ *Pair) {
			c.must(c.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "one"}, PeerName: "two"}))
			c.up("one")
			c.up("two")
			c.addr("one", "172.16.0.1/24")
			c.route("0.0.0.0/0", "172.16.0.2")
		}, []string{"eth0", "already has a default route", "ipam.routes"}},
		{"an address that the node routes to another interface", func(l *lab, _ *space, _ *Pair) {
			l.node.route("10.88.0.5/32", server4)
		}, []string{"10.88.0.5/32", "up0"}},
		{"an IPv6 address that the node routes to another interface", func(l *lab, _ *space, _ *Pair) {
			r := routeOf("fd00:88::5/128", server6)
			r.Priority = 1024
			l.node.must(l.node.RouteAdd(r))
		}, []string{"fd00:88::5/128", "up0"}},
		{
			"a namespace that is not there", func(_ *lab, _ *space, p *Pair) { p.NetNS = "/run/netns/mct-veth-none" },
			[]string{"/run/netns/mct-veth-none", "no such file"},
		},
		{"a file that is not a namespace", func(_ *lab, _ *space, p *Pair) { p.NetNS = "/dev/null" }, []string{"/dev/null", "eth0"}},
		{"the node's own namespace", func(l *lab, _ *space, p *Pair) { p.NetNS = l.node.name }, []string{"is the node's"}},
		{"a small MTU", func(_ *lab, _ *space, p *Pair) { p.MTU = 1279 }, []string{"1279", "1280", "fd00:88::5/64"}},
		{
			"an address twice", func(_ *lab, _ *space, p *Pair) { p.Addresses = append(p.Addresses, p.Addresses[0]) },
			[]string{"add address 10.88.0.5/16", "eth0"},
		},
		{"a route twice", func(_ *lab, _ *space, p *Pair) {
			p.Routes = []masq.Route{{Dst: netip.MustParsePrefix("192.0.2.0/24")}, {Dst: netip.MustParsePrefix("192.0.2.0/24")}}
		}, []string{"192.0.2.0/24 via 169.254.1.1", "eth0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab := newLab(t)
			inside := newSpace(t)
			p := pair(inside, 5, "4", "6")
			c.prepare(lab, inside, &p)
			before := [...]int{lab.node.links(), inside.links()}
			l, err := lab.conn.Add(p)
			if err == nil {
				t.Fatalf("no error: %+v", l)
			}
			t.Log(err)
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q", want)
				}
			}
			if after := [...]int{lab.node.links(), inside.links()}; after != before {
				t.Errorf("%v links before, %v after", before, after)
			}
		})
	}
}

// Add replaces the link that a killed Add left.
func TestAddReplacesTheLinkOfAKilledAdd(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	c.serveEcho("::")
	p := pair(c, 5, "4", "6")
	first := mustAdd(t, lab.conn, p)
	second := mustAdd(t, lab.conn, p)
	if first.HostIndex == second.HostIndex {
		t.Error("the old link still exists")
	}
	lab.reach(t, c, p)
}

// Runtimes disable IPv6 in namespaces. Add enables it for a container with an IPv6 address.
func TestAddEnablesIPv6(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	for _, s := range []*space{lab.node, c} {
		s.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	}
	c.serveEcho("::")
	p := pair(c, 5, "4", "6")
	mustAdd(t, lab.conn, p)
	lab.reach(t, c, p)
}

// The tuning plugin may change the MAC of the container's end afterwards.
func TestAddLetsTheMACChange(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	c.serveEcho("::")
	p := pair(c, 5, "4", "6")
	mustAdd(t, lab.conn, p)
	c.must(c.LinkSetHardwareAddr(c.link("eth0"), newMAC()))
	lab.reach(t, c, p)
}

// The strict reverse path filter accepts packets of containers, since the route to each
// container leads through its link.
func TestAddWorksWithStrictReversePathFilter(t *testing.T) {
	lab := newLab(t)
	lab.node.sysctl("net/ipv4/conf/all/rp_filter", "1")
	c := newSpace(t)
	c.serveEcho("::")
	p := pair(c, 5, "4")
	mustAdd(t, lab.conn, p)
	lab.reach(t, c, p)
}

func TestAddManyAtOnce(t *testing.T) {
	lab := newLab(t)
	var wg sync.WaitGroup
	spaces, pairs := make([]*space, 30), make([]Pair, 30)
	errs := make([]error, 30)
	for n := range spaces {
		spaces[n] = newSpace(t)
		spaces[n].serveEcho("::")
		pairs[n] = pair(spaces[n], n+2, "4", "6")
	}
	for n := range spaces {
		wg.Go(func() { _, errs[n] = lab.conn.Add(pairs[n]) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for n := range spaces {
		lab.reach(t, spaces[n], pairs[n])
	}
}

// After Add, each thread of the process is in its own namespace.
func TestAddLeaksNoThread(t *testing.T) {
	lab := newLab(t)
	spaces := map[string]string{}
	for n := range 20 {
		c := newSpace(t)
		var st unix.Stat_t
		c.must(unix.Fstat(c.fd, &st))
		spaces[fmt.Sprintf("net:[%d]", st.Ino)] = c.name
		p := pair(c, n+2, "4", "6")
		mustAdd(t, lab.conn, p)
		if found := differences(t, lab.conn, p); found != nil {
			t.Fatalf("differences: %q", found)
		}
	}
	// Threads that made the test's namespaces end with their goroutines, after a while. A
	// thread that stays is a leak.
	var inside []string
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		inside = nil
		tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
		if err != nil || len(tasks) == 0 {
			t.Fatalf("no threads: %v", err)
		}
		for _, task := range tasks {
			ns, err := os.Readlink(task)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
				continue // ended meanwhile
			}
			if name, foreign := spaces[ns]; foreign || err != nil {
				inside = append(inside, fmt.Sprintf("%s in %s (%v)", task, name, err))
			}
		}
		if len(inside) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("threads that stay in a container's network namespace: %q", inside)
		}
	}
}
