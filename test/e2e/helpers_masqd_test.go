package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// The ports of the crafted client and server. RTP and RTCP have two ports.
const (
	craftedClientPort = 5000
	craftedServerPort = 6000
)

// deadlineOf returns the time at which the test gives up waiting.
func deadlineOf(t testing.TB) time.Time {
	t.Helper()
	d, _ := soon(t).Deadline()
	return d
}

// craftedServer is an RTSP server that accepts each request, and shows what it received.
type craftedServer struct {
	t    testing.TB
	l    *net.TCPListener
	udp  [2]*net.UDPConn // from which it sends RTP and RTCP
	done sync.WaitGroup

	mu       sync.Mutex
	requests []string
	open     int              // control connections
	sources  []netip.AddrPort // of control connections
}

// craftedServer starts a server at port 554 of an address.
func (w *world) craftedServer(server netip.Addr) *craftedServer {
	w.t.Helper()
	s := &craftedServer{t: w.t, l: assert.Must(w.Server.Listen(at(server, 554)))(w.t)}
	for i := range s.udp {
		s.udp[i] = assert.Must(w.Server.ListenUDP(at(server, craftedServerPort+uint16(i))))(w.t)
		assert.NoError(w.t, s.udp[i].SetReadDeadline(deadlineOf(w.t)))
	}
	s.done.Go(func() {
		for {
			c, err := s.l.AcceptTCP()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.sources = append(s.sources, c.RemoteAddr().(*net.TCPAddr).AddrPort())
			s.open++
			s.mu.Unlock()
			s.done.Go(func() {
				defer c.Close()
				context.AfterFunc(w.t.Context(), func() { _ = c.Close() })
				_ = s.serve(c)
				s.mu.Lock()
				defer s.mu.Unlock()
				s.open--
			})
		}
	})
	w.t.Cleanup(func() {
		_ = s.l.Close()
		for _, c := range s.udp {
			_ = c.Close()
		}
		s.done.Wait()
	})
	return s
}

func (s *craftedServer) serve(c net.Conn) error {
	r := textproto.NewReader(bufio.NewReader(c))
	for {
		line, err := r.ReadLine()
		if err != nil {
			return err
		}
		header, err := r.ReadMIMEHeader()
		if err != nil {
			return err
		}
		method, _, _ := strings.Cut(line, " ")
		transport := header.Get("Transport")
		s.mu.Lock()
		s.requests = append(s.requests, strings.TrimSpace(method+" "+transport))
		s.mu.Unlock()
		answer := "RTSP/1.0 200 OK\r\nCSeq: " + header.Get("CSeq") + "\r\nSession: 7;timeout=600\r\n"
		if transport != "" {
			answer += fmt.Sprintf("Transport: %s;server_port=%d-%d\r\n", transport, craftedServerPort, craftedServerPort+1)
		}
		if _, err := io.WriteString(c, answer+"\r\n"); err != nil {
			return err
		}
	}
}

// connections returns the number of open control connections.
func (s *craftedServer) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// lastSetup returns the last request, such as "SETUP RTP/AVP;unicast;client_port=1-2".
func (s *craftedServer) lastSetup() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range slices.Backward(s.requests) {
		if strings.HasPrefix(r, "SETUP") {
			return r
		}
	}
	return ""
}

// craftedClient is a control connection of a container, and its sockets for a stream.
type craftedClient struct {
	net.Conn
	t    testing.TB
	r    *textproto.Reader
	cseq int
	udp  [2]*net.UDPConn
}

// rtsp connects to the server.
func (p *pod) rtsp(t testing.TB, server netip.Addr) *craftedClient {
	t.Helper()
	c := &craftedClient{Conn: assert.Must(p.Dial(soon(t), "tcp", netip.AddrPort{}, at(server, 554)))(t), t: t}
	t.Cleanup(func() { _ = c.Close() })
	assert.NoError(t, c.SetDeadline(deadlineOf(t)))
	c.r = textproto.NewReader(bufio.NewReader(c.Conn))
	for i := range c.udp {
		c.udp[i] = assert.Must(p.DialUDP(at(p.addr(server), craftedClientPort+uint16(i)), at(server, craftedServerPort+uint16(i))))(t)
		assert.NoError(t, c.udp[i].SetReadDeadline(deadlineOf(t)))
		t.Cleanup(func() { _ = c.udp[i].Close() })
	}
	return c
}

// rtspAgain connects to the server once more, with the sockets of another client.
func (p *pod) rtspAgain(t testing.TB, server netip.Addr, other *craftedClient) *craftedClient {
	t.Helper()
	c := &craftedClient{Conn: assert.Must(p.Dial(soon(t), "tcp", netip.AddrPort{}, at(server, 554)))(t), t: t, udp: other.udp}
	t.Cleanup(func() { _ = c.Close() })
	assert.NoError(t, c.SetDeadline(deadlineOf(t)))
	c.r = textproto.NewReader(bufio.NewReader(c.Conn))
	return c
}

// request sends a request and returns the status and the Transport field of the answer.
func (c *craftedClient) request(method, transport string) (status int, answered string, err error) {
	c.cseq++
	text := fmt.Sprintf("%s rtsp://server/a RTSP/1.0\r\nCSeq: %d\r\nSession: 7\r\n", method, c.cseq)
	if transport != "" {
		text += "Transport: " + transport + "\r\n"
	}
	if _, err := io.WriteString(c, text+"\r\n"); err != nil {
		return 0, "", err
	}
	line, err := c.r.ReadLine()
	if err != nil {
		return 0, "", err
	}
	header, err := c.r.ReadMIMEHeader()
	if err != nil {
		return 0, "", err
	}
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return 0, "", errors.New(line)
	}
	status, err = strconv.Atoi(fields[1])
	return status, header.Get("Transport"), err
}

const craftedTransport = "RTP/AVP;unicast;client_port=5000-5001"

// setup requests a stream, and returns the Transport field of the answer.
func (c *craftedClient) setup() string {
	c.t.Helper()
	status, transport, err := c.request("SETUP", craftedTransport)
	if err != nil || status != 200 {
		c.t.Fatalf("SETUP: status %d, %v", status, err)
	}
	return transport
}

var clientPorts = regexp.MustCompile(`client_port=(\d+)-(\d+)`)

// toldPorts returns the ports at which the server was told to send.
func (s *craftedServer) toldPorts() (out [2]uint16) {
	s.t.Helper()
	m := clientPorts.FindStringSubmatch(s.lastSetup())
	if m == nil {
		s.t.Fatalf("the server got %q", s.lastSetup())
	}
	for i := range out {
		out[i] = uint16(assert.Must(strconv.ParseUint(m[i+1], 10, 16))(s.t))
	}
	return out
}

// streams sends RTP and RTCP to the client at an address of the node, and an answer to each.
func (s *craftedServer) streams(c *craftedClient, node netip.Addr, ports [2]uint16) {
	s.t.Helper()
	b := make([]byte, 100)
	for i, from := range s.udp {
		to := at(node, ports[i])
		assert.Must(from.WriteToUDPAddrPort([]byte("media"), to))(s.t)
		if n, err := c.udp[i].Read(b); err != nil || string(b[:n]) != "media" { // connected: only the server's port is read
			s.t.Fatalf("the client got %q, %v", b[:n], err)
		}
		assert.Must(c.udp[i].Write([]byte("report")))(s.t)
		n, source, err := from.ReadFromUDPAddrPort(b)
		if source = netip.AddrPortFrom(source.Addr().Unmap(), source.Port()); err != nil || string(b[:n]) != "report" || source != to {
			s.t.Fatalf("the server got %q from %s, %v; want %s", b[:n], source, err, to)
		}
	}
}

// refusesMedia checks that the node refuses what the server sends to ports.
func (w *world) refusesMedia(plan nstest.Plan, ports [2]uint16) {
	w.t.Helper()
	for i, port := range ports {
		c := assert.Must(w.Server.DialUDP(at(plan.Server, 7000+uint16(i)), at(plan.Node, port)))(w.t)
		assert.Must(c.Write([]byte("media")))(w.t)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) {
			w.t.Errorf("a datagram to %s: %v", at(plan.Node, port), err)
		}
		assert.NoError(w.t, c.Close())
	}
}

// helped returns the plugin's configuration with the helpers of masqd.
func (w *world) helped() keys {
	return w.masq().With(keys{"helpers": keys{"rtsp": []uint16{554}, "pna": []uint16{7070}, "talk": []uint16{518, 517}}})
}

// redirected waits until masqd serves an attachment.
func (w *world) redirected(p *pod) {
	w.t.Helper()
	until(w.t, "connections of "+p.runtime.ContainerID+" are redirected", func() bool {
		text := assert.Must(w.Node.Command(soon(w.t), "nft", "list", "ruleset").Output())(w.t)
		_, table, _ := strings.Cut(string(text), "table inet masq-helpers")
		for _, ip := range p.result.IPs {
			if !strings.Contains(table, ip.Address.IP.String()+" . tcp . 554") {
				return false
			}
		}
		return true
	})
}

// TestRTSPByMasqd receives streams by UDP in a container. Without the helper, and without
// masqd, the server sends them to ports that the node refuses.
func TestRTSPByMasqd(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	d := w.daemon()
	p := w.attach("a", w.conflist("1.1.0", w.helped()))
	other := w.attach("b", w.conflist("1.1.0", w.masq()))
	w.redirected(p)
	for _, plan := range w.Plans() {
		s := w.craftedServer(plan.Server)
		c := p.rtsp(t, plan.Server)
		if got := c.setup(); !strings.HasPrefix(got, craftedTransport+";server_port=6000-6001") {
			t.Errorf("the client got %q", got)
		}
		ports := s.toldPorts()
		if ports[0]%2 != 0 || ports[1] != ports[0]+1 || s.sources[0].Addr() != plan.Node {
			t.Errorf("the server got %q from %s", s.lastSetup(), s.sources[0])
		}
		s.streams(c, plan.Node, ports)

		without := other.rtsp(t, plan.Server)
		without.setup()
		if got := s.lastSetup(); got != "SETUP "+craftedTransport {
			t.Errorf("without the helper, the server got %q", got)
		}
		w.refusesMedia(plan, s.toldPorts())

		if status, _, err := c.request("TEARDOWN", ""); status != 200 || err != nil {
			t.Fatalf("TEARDOWN: status %d, %v", status, err)
		}
		w.refusesMedia(plan, ports)
	}
	if got := d.metric(`masq_helper_opened_total{helper="rtsp"}`); got != "4" {
		t.Errorf("%s ports were opened", got)
	}
}
