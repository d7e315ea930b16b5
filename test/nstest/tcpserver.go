package nstest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// TCPServer serves every client and records its address. A connection begins with one line:
//
//	GET 300000   the server sends this number of bytes and closes
//	PUT          the server reads to the end and answers with the number of bytes
//	WHO          the server answers with the client's address
//	ECHO         the server sends back what it reads
type TCPServer struct {
	addr    netip.AddrPort
	sources record[netip.AddrPort]
	acceptor
}

// ServeTCP starts a TCPServer. With port 0 the kernel chooses a port. The server ends with the
// namespace or by Close.
func (n *NS) ServeTCP(addr netip.AddrPort) (*TCPServer, error) {
	l, err := n.Listen(addr)
	if err != nil {
		return nil, err
	}
	s := &TCPServer{addr: addrPort(l.Addr())}
	s.serve(l, func(c net.Conn) {
		s.sources.add(addrPort(c.RemoteAddr()))
		_ = s.answer(c) // an error of a client does not concern the server
	})
	return s, n.own(s)
}

// Addr is the address of the server.
func (s *TCPServer) Addr() netip.AddrPort { return s.addr }

// Sources returns the addresses of the clients so far, in order.
func (s *TCPServer) Sources() []netip.AddrPort { return s.sources.all() }

// WaitSources waits until there were n connections and returns their clients' addresses.
func (s *TCPServer) WaitSources(ctx context.Context, n int) ([]netip.AddrPort, error) {
	return s.sources.wait(ctx, func(all []netip.AddrPort) bool { return len(all) >= n })
}

func (s *TCPServer) answer(c net.Conn) error {
	r := bufio.NewReader(c)
	line, err := r.ReadSlice('\n') // fails on a line longer than the buffer
	if err != nil {
		return err
	}
	verb, arg, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	switch verb {
	case "GET":
		var n int64
		if _, err := fmt.Sscan(arg, &n); err != nil {
			return err
		}
		_, err = io.CopyN(c, zeros{}, n)
	case "PUT":
		var n int64
		if n, err = io.Copy(io.Discard, r); err == nil {
			_, err = fmt.Fprintln(c, n)
		}
	case "WHO":
		_, err = fmt.Fprintln(c, addrPort(c.RemoteAddr()))
	case "ECHO":
		_, err = io.Copy(c, r)
	}
	return err
}

// zeros is a reader without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// acceptor runs a handler for each connection of a listener and owns them all.
type acceptor struct {
	l     net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool // nil when closed
}

func (a *acceptor) serve(l net.Listener, handle func(net.Conn)) {
	a.l, a.conns = l, map[net.Conn]bool{}
	a.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			if !a.admit(c) {
				return
			}
			a.wg.Go(func() {
				defer a.dismiss(c)
				handle(c)
			})
		}
	})
}

func (a *acceptor) admit(c net.Conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conns == nil {
		_ = c.Close()
		return false
	}
	a.conns[c] = true
	return true
}

func (a *acceptor) dismiss(c net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, c)
	_ = c.Close()
}

// Close closes the listener and every connection, and waits for the handlers.
func (a *acceptor) Close() error {
	err := a.l.Close()
	a.mu.Lock()
	for c := range a.conns {
		_ = c.Close()
	}
	a.conns = nil
	a.mu.Unlock()
	a.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
