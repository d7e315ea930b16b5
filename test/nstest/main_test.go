package nstest

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// TestMain checks after all tests that nothing remains on the machine.
func TestMain(m *testing.M) {
	code := m.Run()
	for _, fault := range leftovers() {
		fmt.Fprintln(os.Stderr, "left behind:", fault)
		code = 1
	}
	os.Exit(code)
}

// leftovers lists namespaces with this process in their name, descriptors that
// hold one, threads that are in one, and children.
func leftovers() (faults []string) {
	names, _ := filepath.Glob(fmt.Sprintf("%s/*-%d-*", netnsDir, os.Getpid()))
	faults = append(faults, names...)
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); strings.HasPrefix(to, "net:") || strings.HasPrefix(to, netnsDir) {
			faults = append(faults, fd+" is "+to)
		}
	}
	home, _ := os.Readlink("/proc/self/ns/net")
	tasks, _ := filepath.Glob("/proc/self/task/*")
	for _, task := range tasks {
		if at, err := os.Readlink(task + "/ns/net"); err == nil && at != home {
			faults = append(faults, task+" is in "+at)
		}
		if children, _ := os.ReadFile(task + "/children"); len(children) > 0 {
			faults = append(faults, "child "+string(children))
		}
	}
	return faults
}

// within returns a context that ends with the test, or after a time that suffices unless
// something is broken.
func within(t *testing.T) context.Context {
	return withinTime(t, time.Minute)
}

func withinTime(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// pod makes a namespace routed through the node, without address translation. If known, the
// server has a route back.
func pod(t *testing.T, lab *Lab, topo *Topology, known bool) (p *NS, addrs []netip.Addr) {
	t.Helper()
	p = assert.Must(lab.Namespace("pod"))(t)
	inside, outside := End{NS: p, Name: "eth0"}, End{NS: topo.Node, Name: "pod0"}
	nets := []string{"10.88.0.0/24", "fd00:88::/64"}[:len(topo.Plans())]
	for _, n := range nets {
		prefix := netip.MustParsePrefix(n)
		gateway := prefix.Addr().Next()
		outside.Addresses = append(outside.Addresses, netip.PrefixFrom(gateway, prefix.Bits()))
		inside.Addresses = append(inside.Addresses, netip.PrefixFrom(gateway.Next(), prefix.Bits()))
		addrs = append(addrs, gateway.Next())
	}
	assert.NoError(t, Connect(inside, outside, 1500))
	assert.NoError(t, topo.Node.Forward())
	for i, plan := range topo.Plans() {
		prefix := inside.Addresses[i].Masked()
		assert.NoError(t, p.Route(netip.PrefixFrom(unspecified(addrs[i]), 0), outside.Addresses[i].Addr()))
		if known {
			assert.NoError(t, topo.Router.Route(prefix, plan.Node))
			assert.NoError(t, topo.Server.Route(prefix, plan.serverGateway))
		}
	}
	return p, addrs
}
