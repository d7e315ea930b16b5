package e2e

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// isakmp is the port of IKE, as source and as destination.
const isakmp = 500

// TestPortShadowing: the node has a service at UDP port 500, and a container sends from its
// port 500 to the peer's. What the peer sends to the node's port reaches the service, and its
// answers to the container reach the container. The control is a rule that keeps the source
// port: then the container receives the service's packets.
func TestPortShadowing(t *testing.T) {
	for _, c := range []struct {
		name  string
		conf  keys
		late  bool // the service begins after the container's flow
		naive string
	}{
		{"default", nil, false, ""},
		{"the service begins later", nil, true, ""},
		{"randomFully false", keys{"randomFully": false}, false, ""},
		{"randomFully false, the service begins later", keys{"randomFully": false}, true, ""},
		{"toPorts", keys{"toPorts": "20000-29999"}, false, ""},
		{"the port is kept by another rule", keys{"ipMasq": false}, false, "masquerade"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			for _, plan := range w.Plans() {
				var service *net.UDPConn
				listen := func() { service = assert.Must(w.Node.ListenUDP(at(plan.Node, isakmp)))(t) }
				if !c.late {
					listen()
				}
				p := w.attach("a"+strconv.Itoa(plan.Node.BitLen()), w.conflist("1.1.0", w.masq().With(c.conf)))
				if c.naive != "" && plan == w.V4 {
					w.otherRule(c.naive)
				}
				peer := assert.Must(w.Server.ListenUDP(at(plan.Server, isakmp)))(t)
				inside := assert.Must(p.DialUDP(at(netip.Addr{}, isakmp), at(plan.Server, isakmp)))(t)
				assert.Must(inside.Write([]byte("from the container")))(t)
				deadline, _ := soon(t).Deadline()
				assert.NoError(t, peer.SetReadDeadline(deadline))
				_, seen, err := peer.ReadFromUDPAddrPort(make([]byte, 100))
				assert.NoError(t, err)
				if c.late {
					listen()
				}
				if shadows := seen.Port() == isakmp; shadows != (c.naive != "") || seen.Port() >= 1024 {
					t.Errorf("the peer sees the container as %s", seen)
				}
				for _, x := range []struct {
					to   netip.AddrPort
					want string
				}{{at(plan.Node, isakmp), "service"}, {seen, "container"}} {
					want := x.want
					if c.naive != "" {
						want = "container"
					}
					assert.Must(peer.WriteToUDPAddrPort([]byte("from the peer"), x.to))(t)
					if got := firstToRead(soon(t), map[string]*net.UDPConn{"service": service, "container": inside}); got != want {
						t.Errorf("the %s received what the peer sent to %s", got, x.to)
					}
				}
				for _, x := range []io.Closer{service, peer, inside} {
					assert.NoError(t, x.Close())
				}
				p.detach()
			}
		})
	}
}

// firstToRead waits until one of the sockets can be read and returns its name, or "" when the
// context ends. The sockets can be read afterwards.
func firstToRead(ctx context.Context, sockets map[string]*net.UDPConn) string {
	got := make(chan string, len(sockets))
	for who, s := range sockets {
		go func() {
			if _, err := s.Read(make([]byte, 100)); err == nil {
				got <- who
			} else {
				got <- ""
			}
		}()
	}
	var first string
	left := len(sockets)
	select {
	case first = <-got:
		left--
	case <-ctx.Done():
	}
	for _, s := range sockets {
		_ = s.SetReadDeadline(time.Unix(1, 0))
	}
	for range left {
		<-got
	}
	for _, s := range sockets {
		_ = s.SetReadDeadline(time.Time{})
	}
	return first
}

// TestPortsOfServices: flows leave with no port that a socket of the node uses, or that the
// kernel's settings reserve, whatever ports the policy has. So few ports remain that without
// the rule a flow would use a wrong one.
func TestPortsOfServices(t *testing.T) {
	for _, c := range []struct {
		name     string
		conf     keys
		tcp, udp []uint16 // ports on which the node listens
		reserved string   // net.ipv4.ip_local_reserved_ports
		sources  []uint16
		want     func(port uint16) bool
	}{
		{"toPorts", keys{"toPorts": "20000-20003"}, []uint16{20001}, []uint16{20002}, "", ports(5000, 5015), oneOf(20000, 20003)},
		{"two ranges of toPorts", keys{"toPorts": "20000-20001,40000-40001"}, []uint16{20001}, []uint16{40000}, "", ports(5000, 5015), oneOf(20000, 40001)},
		{"toPorts, randomFully false", keys{"toPorts": "20000-20003", "randomFully": false}, []uint16{20001}, []uint16{20002}, "", ports(20000, 20003), oneOf(20000, 20003)},
		{"privileged", nil, ports(600, 810), ports(811, 1021), "", []uint16{1, 500, 511, 512, 600, 700, 1022, 1023}, oneOf(1022, 1023)},
		{"reserved by the kernel's setting", nil, nil, nil, "1024-65000", ports(5000, 5015), func(port uint16) bool { return port > 65000 }},
		{"randomFully false", keys{"randomFully": false}, []uint16{9001}, []uint16{9002}, "", []uint16{9001, 9002}, func(port uint16) bool { return port >= 1024 && port != 9001 && port != 9002 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			for _, port := range c.tcp {
				l := assert.Must(w.Node.Listen(at(netip.IPv6Unspecified(), port)))(t)
				defer l.Close()
			}
			for _, port := range c.udp {
				l := assert.Must(w.Node.ListenUDP(at(w.V4.Node, port)))(t)
				defer l.Close()
			}
			if c.reserved != "" {
				assert.NoError(t, w.Node.Sysctl("net.ipv4.ip_local_reserved_ports", c.reserved))
			}
			list := w.conflist("1.1.0", w.masq().With(c.conf))
			p := w.attach("a", list)
			for _, plan := range w.Plans() {
				// One server for each port, so that flows can share a source port.
				for _, port := range c.sources {
					tcp, udp := w.in(t).servers(plan.Server)
					for proto, seen := range w.seenFrom(t, p, port, tcp, udp) {
						if seen.Addr() != plan.Node || !c.want(seen.Port()) {
							t.Errorf("%s from port %d: seen as %s", proto, port, seen)
						}
					}
				}
			}
			assert.NoError(t, p.tryCheck(list))
		})
	}
}

// TestPortOfNewService: a service that started after an attachment was made is no
// fault of the attachment. The next ADD of any network, and the next sync of masqd, reserve
// its port for all policies. masqd ends the reservation after the service ended.
func TestPortOfNewService(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	first := w.conflist("1.1.0", w.masq().With(keys{"toPorts": "20000-20001"}))
	p := w.attach("first", first)
	avoids := func(port uint16) {
		t.Helper()
		assert.NoError(t, p.tryCheck(first))
		for _, plan := range w.Plans() {
			for i := range uint16(16) {
				tcp, udp := w.servers(plan.Server)
				for proto, seen := range w.seenFrom(t, p, 5000+i, tcp, udp) {
					if seen.Port() == port {
						t.Errorf("%s is seen as %s", proto, seen)
					}
				}
			}
		}
	}
	service := assert.Must(w.Node.Listen(at(w.V4.Node, 20000)))(t)
	assert.NoError(t, p.tryCheck(first))
	w.attach("second", w.namedConflist("second", "1.1.0", w.masqOn("10.93.0.0/24")))
	if got := w.reservedPorts(); got != "20000" {
		t.Errorf("after an ADD the reserved ports are %q", got)
	}
	avoids(20000)

	d := w.daemon()
	until(t, "masqd knows two attachments", func() bool { return d.metric("masq_attachments") == "2" })
	assert.NoError(t, service.Close())
	other := assert.Must(w.Node.ListenUDP(at(w.V4.Node, 20001)))(t)
	defer other.Close()
	d.syncs()
	until(t, "masqd reserves the new service's port alone", func() bool { return w.reservedPorts() == "20001" })
	avoids(20001)
	if out, err := w.command(w.Node, "inspect", "drift").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// reservedPorts returns the ports that the table reserves for the node.
func (w *world) reservedPorts() string {
	w.t.Helper()
	list := w.nodeRun("nft", "list", "set", "inet", "masq", "reserved")
	_, elements, _ := strings.Cut(list, "elements = { ")
	elements, _, _ = strings.Cut(elements, " }")
	return elements
}

func ports(first, last uint16) (out []uint16) {
	for p := first; p <= last; p++ {
		out = append(out, p)
	}
	return out
}

func oneOf(all ...uint16) func(uint16) bool {
	return func(p uint16) bool { return slices.Contains(all, p) }
}
