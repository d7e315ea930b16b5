package veth

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

func mustRepairForwarding(t *testing.T, w *Conn, links []string, families ...masq.Family) []string {
	t.Helper()
	got, err := w.RepairForwarding(named(links...), families)
	if err != nil {
		t.Fatalf("RepairForwarding: %v", err)
	}
	return got
}

// Packets are lost when forwarding is disabled, in each way, until it is repaired. No other
// setting is changed.
func TestRepairForwarding(t *testing.T) {
	const end = "veth00000000005"
	key6 := func(device string) string { return settingOf(forwarding6Key(device)) + "=1" }
	for _, c := range []struct {
		name string
		stop func(l *lab)
		lost string // the server whose answers are lost
		want []string
	}{
		{"the node", func(l *lab) {
			l.node.sysctl("net/ipv4/ip_forward", "1")
			l.node.sysctl("net/ipv4/ip_forward", "0")
		}, server4, []string{"net.ipv4.conf." + end + ".forwarding=1", "net.ipv4.conf.up0.forwarding=1"}},
		{"the uplink", func(l *lab) {
			l.node.sysctl("net/ipv4/conf/up0/forwarding", "0")
		}, server4, []string{"net.ipv4.conf.up0.forwarding=1"}},
		{"the host's end", func(l *lab) {
			l.node.sysctl("net/ipv4/conf/"+end+"/forwarding", "0")
		}, server4, []string{"net.ipv4.conf." + end + ".forwarding=1"}},
		{"the uplink, IPv6", func(l *lab) {
			l.node.sysctl(forwarding6Key("up0"), "0")
		}, server6, []string{key6("up0")}},
		{"the host's end, IPv6", func(l *lab) {
			l.node.sysctl(forwarding6Key(end), "0")
		}, server6, []string{key6(end)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab := newLab(t)
			idle := newSpace(t)
			cable(lab.node, "idle0", idle, "idle1")
			inside := newSpace(t)
			inside.serveEcho("::")
			p := pair(inside, 5, "4", "6")
			mustAdd(t, lab.conn, p)
			lab.reach(t, inside, p)
			links := []string{"veth0000000dead", p.HostName}
			if got := mustRepairForwarding(t, lab.conn, links, masq.Families[:]...); len(got) != 0 {
				t.Errorf("repaired without damage: %q", got)
			}

			c.stop(lab)
			if err := inside.ask(c.lost); err == nil {
				t.Fatalf("packets pass without forwarding to %s", c.lost)
			}
			got := mustRepairForwarding(t, lab.conn, links, masq.Families[:]...)
			if !slices.Equal(got, c.want) {
				t.Errorf("repaired %q, want %q", got, c.want)
			}
			lab.reach(t, inside, p)
			if got := mustRepairForwarding(t, lab.conn, links, masq.Families[:]...); len(got) != 0 {
				t.Errorf("repaired again: %q", got)
			}
			wants := map[string]string{"net/ipv4/ip_forward": "0", "net/ipv4/conf/idle0/forwarding": "0"}
			if !beforeLinux617() {
				wants["net/ipv6/conf/all/forwarding"] = "0"
				wants["net/ipv6/conf/idle0/force_forwarding"] = "0"
			}
			for key, want := range wants {
				if got := lab.node.readSysctl(key); got != want {
					t.Errorf("%s is %s, want %s", key, got, want)
				}
			}
		})
	}
}

// Before Linux 6.17, IPv6 forwarding is a setting of the node.
func TestRepairForwardingBeforeLinux617(t *testing.T) {
	lab := newLab(t)
	lab.conn.allForwarding = true
	c := newSpace(t)
	c.serveEcho("::")
	p := pair(c, 5, "6")
	mustAdd(t, lab.conn, p)
	lab.node.sysctl("net/ipv6/conf/all/forwarding", "0")
	lab.node.sysctl("net/ipv6/conf/up0/accept_ra", "1")
	if err := c.ask(server6); err == nil {
		t.Fatal("packets pass without forwarding")
	}
	want := []string{"net.ipv6.conf.up0.accept_ra=2", "net.ipv6.conf.all.forwarding=1"}
	if got := mustRepairForwarding(t, lab.conn, []string{p.HostName}, masq.IPv6); !slices.Equal(got, want) {
		t.Errorf("repaired %q, want %q", got, want)
	}
	lab.reach(t, c, p)
}

// RepairForwarding repairs only the selected links, and only the given families.
func TestRepairForwardingChangesNothingElse(t *testing.T) {
	lab := newLab(t)
	p, q := pair(newSpace(t), 5, "4", "6"), pair(newSpace(t), 6, "4", "6")
	mustAdd(t, lab.conn, p)
	mustAdd(t, lab.conn, q)
	off := []string{"net/ipv4/conf/" + p.HostName + "/forwarding", "net/ipv4/conf/" + q.HostName + "/forwarding"}
	if !beforeLinux617() {
		off = append(off, forwarding6Key(p.HostName), forwarding6Key(q.HostName))
	}
	for _, key := range off {
		lab.node.sysctl(key, "0")
	}
	absent := make([]string, 100) // more names than interfaces
	for n := range absent {
		absent[n] = pair(lab.node, 1000+n).HostName
	}
	one := []string{p.HostName}
	for _, c := range []struct {
		links    []string
		families []masq.Family
		want     []string
	}{
		{nil, masq.Families[:], nil},
		{one, nil, nil},
		{absent, masq.Families[:], nil},
		{one, []masq.Family{masq.IPv4}, off[:1]},
		{append(absent, one...), []masq.Family{masq.IPv4}, off[:1]},
		{one, masq.Families[:], slices.DeleteFunc(slices.Clone(off), func(key string) bool { return !strings.Contains(key, p.HostName) })},
	} {
		lab.node.sysctl(off[0], "0")
		var want []string
		for _, key := range c.want {
			want = append(want, settingOf(key)+"=1")
		}
		if got := mustRepairForwarding(t, lab.conn, c.links, c.families...); !slices.Equal(got, want) {
			t.Errorf("%d links, IPv%v: repaired %q, want %q", len(c.links), c.families, got, want)
		}
	}
	for _, key := range off {
		if got := lab.node.readSysctl(key); strings.Contains(key, q.HostName) && got != "0" {
			t.Errorf("%s is %s", key, got)
		}
	}
}

// The default route changes to an uplink that does not forward yet.
func TestRepairForwardingOfASecondUplink(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	p := pair(c, 5, "4", "6")
	mustAdd(t, lab.conn, p)
	other := newSpace(t)
	cable(lab.node, "up1", other, "srv1")
	lab.node.addr("up1", "10.0.1.1/24")
	lab.node.addr("up1", "fd00:11::1/64")
	other.addr("srv1", "10.0.1.2/24")
	other.addr("srv1", "fd00:11::2/64")
	other.addr("srv1", "198.51.100.1/32")
	other.addr("srv1", "2001:db8::1/128")
	other.serveEcho("198.51.100.1", "2001:db8::1")
	other.route("10.88.0.0/16", "10.0.1.1")
	other.route("fd00:88::/64", "fd00:11::1")
	e := lab.node.listen(lab.conn)
	lab.node.must(lab.node.RouteReplace(routeOf("0.0.0.0/0", "10.0.1.2")))
	lab.node.must(lab.node.RouteDel(routeOf("::/0", server6)))
	lab.node.route("::/0", "fd00:11::2")
	if v := e.next(); !v.Routes {
		t.Errorf("after the change of the default route: %+v", v)
	}
	for _, to := range []string{"198.51.100.1", "2001:db8::1"} {
		lab.node.await("the node's way to "+to, func() bool { return lab.node.ask(to) == nil })
		if err := c.ask(to); err == nil && (to == "198.51.100.1" || !beforeLinux617()) {
			t.Fatalf("an answer of %s is forwarded from an uplink that does not forward", to)
		}
	}
	want := []string{"net.ipv4.conf.up1.forwarding=1"}
	if !beforeLinux617() {
		want = append(want, "net.ipv6.conf.up1.force_forwarding=1")
	}
	if got := mustRepairForwarding(t, lab.conn, []string{p.HostName}, masq.Families[:]...); !slices.Equal(got, want) {
		t.Errorf("repaired %q, want %q", got, want)
	}
	for _, to := range []string{"198.51.100.1", "2001:db8::1"} {
		if err := c.ask(to); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// readOnly runs functions in the namespace, on a thread for which a path of /proc/sys is
// read-only.
func (s *space) readOnly(path string) func(func() error) error {
	path = "/proc/sys/" + path
	return func(f func() error) error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked: its mounts end with the thread
			for _, step := range []func() error{
				func() error { return unix.Unshare(unix.CLONE_NEWNS) },
				func() error { return unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "") },
				func() error { return unix.Setns(s.fd, unix.CLONE_NEWNET) },
				func() error { return unix.Mount(path, path, "", unix.MS_BIND, "") },
				func() error { return unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "") },
				f,
			} {
				if err := step(); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		return <-done
	}
}

// If /proc/sys is read-only, IPv4 is repaired by netlink, and the error has the remedy for
// IPv6.
func TestRepairForwardingWithoutProc(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	p := pair(c, 5, "4", "6")
	mustAdd(t, lab.conn, p)
	keys4 := []string{"net/ipv4/conf/" + p.HostName + "/forwarding", "net/ipv4/conf/up0/forwarding"}
	keys6 := []string{forwarding6Key("up0")}
	if !beforeLinux617() {
		keys6 = append(keys6, forwarding6Key(p.HostName))
	}
	for _, key := range slices.Concat(keys4, keys6) {
		lab.node.sysctl(key, "0")
	}
	if err := lab.node.readOnly("")(func() error { return os.WriteFile("/proc/sys/"+keys4[0], []byte("1"), 0) }); !errors.Is(err, unix.EROFS) {
		t.Fatalf("/proc/sys is not read-only: %v", err)
	}
	for _, to := range []string{server4, server6} {
		if err := c.ask(to); err == nil {
			t.Fatalf("packets to %s pass without forwarding", to)
		}
	}
	got, err := lab.conn.repairForwarding(lab.node.readOnly(""), named(p.HostName), masq.Families[:])
	var want []string
	for _, key := range keys4 {
		want = append(want, settingOf(key)+"=1")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("repaired %q, want %q", got, want)
	}
	if err := c.ask(server4); err != nil {
		t.Errorf("IPv4: %v", err)
	}
	if !errors.Is(err, unix.EROFS) {
		t.Fatalf("IPv6: %v", err)
	}
	t.Log(err)
	for _, key := range keys6 {
		if !strings.Contains(err.Error(), "sysctl -w "+settingOf(key)+"=1") {
			t.Errorf("the error lacks the remedy for %s", key)
		}
		if got := lab.node.readSysctl(key); got != "0" {
			t.Errorf("%s is %s", key, got)
		}
	}
}

// Before Linux 6.17, forwarding is not enabled if accept_ra=2 cannot be set: the uplinks
// would ignore router advertisements.
func TestRepairForwardingKeepsTheDefaultRoute(t *testing.T) {
	lab := newLab(t)
	lab.conn.allForwarding = true
	lab.node.sysctl("net/ipv6/conf/up0/accept_ra", "1")
	got, err := lab.conn.repairForwarding(lab.node.readOnly("net/ipv6/conf/up0/accept_ra"), named(), []masq.Family{masq.IPv6})
	if len(got) != 0 || !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "default route") {
		t.Errorf("repaired %q, %v", got, err)
	}
	if got := lab.node.readSysctl("net/ipv6/conf/all/forwarding"); got != "0" {
		t.Errorf("net.ipv6.conf.all.forwarding is %s", got)
	}
}

// A link that is deleted meanwhile is not repaired, and is no error.
func TestRepairForwardingOfDeletedLinks(t *testing.T) {
	lab := newLab(t)
	p := pair(newSpace(t), 5, "4", "6")
	mustAdd(t, lab.conn, p)
	keys := []string{"net/ipv4/conf/" + p.HostName + "/forwarding"}
	if !beforeLinux617() {
		keys = append(keys, forwarding6Key(p.HostName))
	}
	for _, key := range keys {
		lab.node.sysctl(key, "0")
	}
	entered := false
	got, err := lab.conn.repairForwarding(func(f func() error) error {
		entered = true
		lab.node.must(lab.node.LinkDel(lab.node.link(p.HostName)))
		return lab.node.within(f)
	}, named(p.HostName), masq.Families[:])
	if !entered || len(got) != 0 || err != nil {
		t.Errorf("repaired %q, %v", got, err)
	}
}

func BenchmarkRepairForwarding(b *testing.B) {
	for _, stack := range stacks {
		b.Run(stack.name, func(b *testing.B) {
			const links = 1000
			lab := newLab(b)
			crowd(b, lab.conn, links, stack.families...)
			var names []string
			for n := range links {
				names = append(names, pair(lab.node, 0x8000+n).HostName)
			}
			families := pair(lab.node, 5, stack.families...).families()
			for b.Loop() {
				if got, err := lab.conn.RepairForwarding(named(names...), families); len(got) != 0 || err != nil {
					b.Fatal(got, err)
				}
			}
		})
	}
}

// named selects these links.
func named(links ...string) func(string) bool {
	return func(name string) bool { return slices.Contains(links, name) }
}
