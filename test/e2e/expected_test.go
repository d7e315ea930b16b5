package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestExpectedOfTheNode: a container announces ports of the node to an FTP server, which
// then connects to them. A connection to a privileged port, or to a port with a socket
// of the node, reaches the node and is counted; to any other port it reaches the
// container. Without the rules each connection reaches the container.
func TestExpectedOfTheNode(t *testing.T) {
	ftp := keys{"helpers": keys{"ftp": []uint16{21}}}
	for _, mode := range []string{"main", "chained"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			plugins, plans := []keys{w.masq().With(ftp)}, w.Plans()
			if mode == "chained" {
				// IPv6 would have ptp wait for duplicate address detection.
				ipam := w.masqOn("10.92.0.0/24")["ipam"].(keys).With(keys{"routes": []any{keys{"dst": "0.0.0.0/0"}}})
				plugins, plans = []keys{{"type": "ptp", "ipMasq": false, "ipam": ipam}, w.behind().With(ftp)}, plans[:1]
			}
			p := w.attach("a", w.conflist("1.0.0", plugins...))
			for _, plan := range plans {
				refused := inspect[report.Node](w).Dropped.Expected
				for _, c := range []struct {
					name string
					port uint16
					node netip.Addr // address where the node listens; invalid if it does not
					own  bool       // the container gets the connection
				}{
					{"privileged", 22, unspecified(plan.Node), false},
					{"listening", 9022, unspecified(plan.Node), false},
					{"listening at one address", 9023, plan.Node, false},
					{"free", 9024, netip.Addr{}, true},
				} {
					if who := w.claim(p, plan, c.port, c.node); (who == "container") != c.own {
						t.Errorf("%s: the connection to %s reached the %s", c.name, at(plan.Node, c.port), who)
					}
				}
				if got := inspect[report.Node](w).Dropped.Expected - refused; got != 3 {
					t.Errorf("%d refused connections are counted, want 3", got)
				}
			}
			w.nft("flush chain inet masq announced")
			for _, plan := range plans {
				for _, port := range []uint16{22, 9022} {
					if who := w.claim(p, plan, port, unspecified(plan.Node)); who != "container" {
						t.Errorf("control: without the rules the connection to %s reached the %s", at(plan.Node, port), who)
					}
				}
			}
		})
	}
}

// TestExpectedDatagramsOfTheNode is the same for media ports that a SIP client announces.
func TestExpectedDatagramsOfTheNode(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attach("a", w.conflist("1.0.0", w.masq().With(keys{"helpers": keys{"sip": []uint16{5060}}})))
	for _, protected := range []bool{true, false} {
		if !protected {
			w.nft("flush chain inet masq announced")
		}
		for _, plan := range w.Plans() {
			w := w.in(t)
			server := at(plan.Server, 5060)
			l := assert.Must(w.Server.ListenUDP(server))(t)
			c := assert.Must(p.DialUDP(at(netip.Addr{}, 5060), server))(t)
			assert.Must(c.Write(sipMessage(p.addr(plan.Server), plan.Server)))(t)
			until(t, "the media are expected", func() bool {
				return strings.Contains(w.expectations(plan.Node), fmt.Sprintf("dport=%d ", callbackPort))
			})
			sockets := map[string]*net.UDPConn{
				"container": assert.Must(p.ListenUDP(at(p.addr(plan.Server), callbackPort)))(t),
				"node":      assert.Must(w.Node.ListenUDP(at(plan.Node, callbackPort)))(t),
			}
			got := make(chan string, 100)
			for who, s := range sockets {
				go func() {
					if _, _, err := s.ReadFromUDPAddrPort(make([]byte, 100)); err == nil {
						got <- who
					}
				}()
			}
			media := assert.Must(w.Server.DialUDP(netip.AddrPort{}, at(plan.Node, callbackPort)))(t)
			var who string
			until(t, "the media arrive", func() bool {
				assert.Must(media.Write([]byte("media")))(t)
				select {
				case who = <-got:
				default:
				}
				return who != ""
			})
			if (who == "node") != protected {
				t.Errorf("with rules %v the media from %s reached the %s", protected, plan.Server, who)
			}
			for _, x := range []io.Closer{l, c, media, sockets["container"], sockets["node"]} {
				assert.NoError(t, x.Close())
			}
			w.nodeRun("conntrack", "-F")
			w.nodeRun("conntrack", "-F", "expect")
		}
	}
}

// TestExpectedFromTheServerOnly: another host cannot connect to a port that a container
// announced to an FTP server. The control is the server itself.
func TestExpectedFromTheServerOnly(t *testing.T) {
	const port = 9025
	w := newWorld(t, nstest.Uplink{})
	p := w.attach("a", w.conflist("1.0.0", w.masq().With(keys{"helpers": keys{"ftp": []uint16{21}}})))
	for _, plan := range w.Plans() {
		l := assert.Must(p.Listen(at(p.addr(plan.Server), port)))(t)
		end := w.announce(p, plan, port)
		if c, err := w.Router.Dial(soon(t), "tcp", at(plan.Router, 0), at(plan.Node, port)); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("another host's connection to %s: %v, %v", at(plan.Node, port), c, err)
		}
		c := assert.Must(w.Server.Dial(soon(t), "tcp", at(plan.Server, 0), at(plan.Node, port)))(t)
		if got := assert.Must(l.Accept())(t); got.RemoteAddr().(*net.TCPAddr).AddrPort() != c.LocalAddr().(*net.TCPAddr).AddrPort() {
			t.Errorf("the container got the connection of %s", got.RemoteAddr())
		}
		end()
		assert.NoError(t, c.Close())
		assert.NoError(t, l.Close())
	}
}

// TestExpectedPublished: a connection to a port that another attachment publishes reaches
// that attachment, although a container announced the port. masqd learns of published
// ports; the attachment that publishes comes last.
func TestExpectedPublished(t *testing.T) {
	const port = 8080
	for _, backend := range []string{"iptables", "nftables"} {
		t.Run(backend, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			w.daemon()
			attacker := w.attach("a", w.conflist("1.0.0", w.masq().With(keys{"helpers": keys{"ftp": []uint16{21}}})))
			victim := w.attachWith("b", w.conflist("1.0.0", w.masq(), portmap().With(keys{"backend": backend})),
				map[string]any{"portMappings": []keys{{"hostPort": port, "containerPort": port, "protocol": "tcp"}}})
			until(t, "masqd reserves the published port", func() bool { return w.reservedPorts() == fmt.Sprint(port) })
			for _, plan := range w.Plans() {
				if who := w.claimBeside(attacker, plan, port, victim.NS, victim.addr(plan.Server)); who != "other" {
					t.Errorf("the connection to %s reached the %s", at(plan.Node, port), who)
				}
			}
			victim.detach()
			until(t, "masqd ends the reservation", func() bool { return w.reservedPorts() == "" })
			for _, plan := range w.Plans() {
				if who := w.claim(attacker, plan, port, netip.Addr{}); who != "container" {
					t.Errorf("control: a port that is not published reached the %s", who)
				}
			}
		})
	}
}

// TestExpectedFollowing: the data connection of passive FTP does not leave with a port of
// the node's services, although the helper has the kernel keep the container's port.
// Without the rules it does.
func TestExpectedFollowing(t *testing.T) {
	const listening = 9026
	w := newWorld(t, nstest.Uplink{})
	for _, plan := range w.Plans() {
		l := assert.Must(w.Node.Listen(at(plan.Node, listening)))(t)
		defer l.Close()
	}
	p := w.attach("a", w.conflist("1.0.0", w.masq().With(keys{"helpers": keys{"ftp": []uint16{21}}})))
	for _, protected := range []bool{true, false} {
		if !protected {
			w.nft("flush chain inet masq following")
			// The kernel would reuse the ports that it gave to the same sources before.
			w.nodeRun("conntrack", "-F")
		}
		for _, plan := range w.Plans() {
			for _, port := range []uint16{500, listening} {
				if seen := w.passive(p, plan, port); (seen.Port() == port) == protected {
					t.Errorf("with rules %v, a data connection from port %d arrives from %s", protected, port, seen)
				}
			}
		}
	}
}

// passive has a container open the data connection of passive FTP from a port, and returns
// the source that the server sees.
func (w *world) passive(p *pod, plan nstest.Plan, port uint16) netip.AddrPort {
	w.t.Helper()
	c, s := w.control(p, plan)
	defer c.Close()
	defer s.Close()
	// For ports above 32767, Linux 5.17 and later change source ports below 16384.
	data := assert.Must(w.Server.Listen(at(plan.Server, 20021)))(w.t)
	defer data.Close()
	to := data.Addr().(*net.TCPAddr).AddrPort()
	reply := fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)\r\n", to.Port())
	if plan.Server.Is4() {
		reply = fmt.Sprintf("227 Entering Passive Mode (%s,%d,%d)\r\n", strings.ReplaceAll(plan.Server.String(), ".", ","), to.Port()>>8, to.Port()&0xff)
	}
	assert.Must(io.WriteString(s, reply))(w.t)
	assert.Must(bufio.NewReader(c).ReadString('\n'))(w.t)
	if list := w.expectations(plan.Node); !strings.Contains(list, fmt.Sprintf("dport=%d ", to.Port())) {
		w.t.Fatalf("no expectation of port %d:\n%s", to.Port(), list)
	}
	conn := assert.Must(p.Dial(soon(w.t), "tcp", at(netip.Addr{}, port), to))(w.t)
	defer conn.Close()
	far := assert.Must(data.Accept())(w.t)
	// The far end closes first: the container's port is then free for the next connection.
	defer func() {
		assert.NoError(w.t, far.Close())
		assert.Must(io.Copy(io.Discard, conn))(w.t)
	}()
	return far.RemoteAddr().(*net.TCPAddr).AddrPort()
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// claim has a container announce a port of the node to an FTP server, which connects to
// it. It returns which listener accepts: "container" or "node". node is the address where
// the node listens.
func (w *world) claim(p *pod, plan nstest.Plan, port uint16, node netip.Addr) string {
	w.t.Helper()
	if who := w.claimBeside(p, plan, port, w.Node, node); who != "other" {
		return who
	}
	return "node"
}

// claimBeside is claim with a third namespace that listens at an address, if the address
// is valid. If that listener accepts, it returns "other".
func (w *world) claimBeside(p *pod, plan nstest.Plan, port uint16, other *nstest.NS, address netip.Addr) string {
	w.t.Helper()
	accepted := make(chan string, 2)
	listen := func(who string, n *nstest.NS, a netip.Addr) io.Closer {
		l := assert.Must(n.Listen(at(a, port)))(w.t)
		go func() {
			if c, err := l.Accept(); err == nil {
				accepted <- who
				_ = c.Close()
			}
		}()
		return l
	}
	defer listen("container", p.NS, p.addr(plan.Server)).Close()
	if address.IsValid() {
		defer listen("other", other, address).Close()
	}
	defer w.announce(p, plan, port)()
	c := assert.Must(w.Server.Dial(soon(w.t), "tcp", at(plan.Server, 0), at(plan.Node, port)))(w.t)
	defer c.Close()
	return <-accepted
}

// announce has a container announce a port by the commands of active FTP. The server
// belongs to the attacker and accepts the command. The control connection stays open until
// the returned function is called.
func (w *world) announce(p *pod, plan nstest.Plan, port uint16) (end func()) {
	w.t.Helper()
	c, s := w.control(p, plan)
	commands := bufio.NewReader(s)
	own := p.addr(plan.Server)
	command := fmt.Sprintf("EPRT |2|%s|%d|\r\n", own, port)
	if own.Is4() {
		command = fmt.Sprintf("PORT %s,%d,%d\r\n", strings.ReplaceAll(own.String(), ".", ","), port>>8, port&0xff)
	}
	assert.Must(io.WriteString(c, command))(w.t)
	assert.Must(commands.ReadString('\n'))(w.t)
	if list := w.expectations(plan.Node); !strings.Contains(list, fmt.Sprintf("dport=%d ", port)) {
		w.t.Fatalf("no expectation of port %d:\n%s", port, list)
	}
	return func() { _, _ = c.Close(), s.Close() }
}

// control opens an FTP control connection, which the helper then parses.
func (w *world) control(p *pod, plan nstest.Plan) (client, server net.Conn) {
	w.t.Helper()
	l := assert.Must(w.Server.Listen(at(plan.Server, 21)))(w.t)
	client = assert.Must(p.Dial(soon(w.t), "tcp", netip.AddrPort{}, at(plan.Server, 21)))(w.t)
	server = assert.Must(l.Accept())(w.t)
	assert.NoError(w.t, l.Close())
	// The helper parses a line only if the previous segment ended in a newline.
	for _, x := range []struct{ from, to net.Conn }{{server, client}, {client, server}} {
		assert.Must(io.WriteString(x.from, "hello\r\n"))(w.t)
		assert.Must(bufio.NewReader(x.to).ReadString('\n'))(w.t)
	}
	return client, server
}
