package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// proxy is a Server on loopback TCP. Clients connect to its address, and are connected to
// target.
type proxy struct {
	node     *fakeNode
	server   *Server
	listener net.Listener
	target   net.Listener
	cancel   context.CancelFunc
	serving  sync.WaitGroup
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func newProxy(t testing.TB) *proxy {
	p := &proxy{node: newFakeNode(t), listener: listen(t), target: listen(t)}
	p.node.owners[loopback] = "net/a/eth0"
	p.node.egress = loopback
	p.node.dial = func(ctx context.Context, _, server netip.AddrPort) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", server.String())
	}
	p.server = NewServer(Options{Node: p.node})
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	to := p.target.Addr().(*net.TCPAddr).AddrPort()
	p.serving.Go(func() {
		for {
			c, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.serving.Go(func() { p.server.Serve(ctx, c, to) })
		}
	})
	t.Cleanup(func() {
		_ = p.listener.Close()
		_ = p.target.Close()
		cancel()
		p.serving.Wait()
	})
	return p
}

func listen(t testing.TB) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// connect returns a client's connection and the server's end of it.
func (p *proxy) connect(t testing.TB) (client, server *net.TCPConn) {
	c, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.target.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = s.Close()
	})
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func exchange(t testing.TB, from, to net.Conn, text, want string) {
	t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(want))
	if n, err := io.ReadFull(to, b); string(b) != want {
		t.Fatalf("got %q, %v; want %q", b[:n], err, want)
	}
}

// TestTCP: a session over real connections, and how each of its ends is passed on.
func TestTCP(t *testing.T) {
	ends := map[string]func(from *net.TCPConn) error{
		"close": (*net.TCPConn).Close,
		"reset": func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) },
		"half":  (*net.TCPConn).CloseWrite,
	}
	for name, end := range ends {
		for _, byServer := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				p := newProxy(t)
				client, server := p.connect(t)
				exchange(t, client, server, setup(1, offer), setup(1, offered))
				exchange(t, server, client, setupAnswer(1, "s", accepted), setupAnswer(1, "s", translated))
				if n := len(p.node.isOpen()); n != 2 {
					t.Errorf("%d media are open", n)
				}
				from, to := client, server
				if byServer {
					from, to = to, from
				}
				if err := end(from); err != nil {
					t.Fatal(err)
				}
				_, err := to.Read(make([]byte, 1))
				if reset := errors.Is(err, syscall.ECONNRESET); reset != (name == "reset") || !reset && !errors.Is(err, io.EOF) {
					t.Errorf("the other end reads %v", err)
				}
				if name == "half" {
					exchange(t, to, from, okAnswer(2), okAnswer(2))
				}
			})
		}
	}
}

// TestRefusedConnection: the server does not accept the connection.
func TestRefusedConnection(t *testing.T) {
	p := newProxy(t)
	p.node.refuse.Store(true)
	c, err := net.Dial("tcp", p.listener.Addr().String())
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client reads %v", err)
	}
}

// TestNoAllocations: nothing is allocated for interleaved frames.
func TestNoAllocations(t *testing.T) {
	p := newProxy(t)
	client, server := p.connect(t)
	frame := []byte("$\x00\x04\x00" + strings.Repeat("x", 1024))
	got := make([]byte, len(frame))
	pass := func() {
		if _, err := server.Write(frame); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, frame) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	pass() // the buffer
	if n := testing.AllocsPerRun(1000, pass); n >= 1 {
		t.Errorf("%v allocations for each frame", n)
	}
}

// TestGoroutines is the negative control of TestMain.
func TestGoroutines(t *testing.T) {
	p := newProxy(t)
	client, server := p.connect(t)
	exchange(t, client, server, okAnswer(1), okAnswer(1))
	if n := len(goroutines()); n < 2 {
		t.Errorf("%d goroutines of a session are found", n)
	}
}
