package session

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"sync"
)

// Options are the options of a Server.
type Options struct {
	Node     Node
	Counters *Counters    // can be shared; nil: not counted
	Log      *slog.Logger // nil: nothing is logged. Refusals are logged at level debug
	// Connections is the limit for all attachments; 0: MaxConnections. Each takes two file
	// descriptors.
	Connections int
}

// Server handles the redirected TCP connections of a node: RTSP and PNA.
type Server struct {
	node     Node
	counters *Counters
	log      *slog.Logger
	seed     maphash.Seed
	limit    int // of connections

	mu          sync.Mutex
	connections int
	usage       map[string]usage // by attachment
}

// usage is what the sessions of one attachment hold.
type usage struct{ connections, ports int }

// NewServer returns a Server.
func NewServer(o Options) *Server {
	s := &Server{node: o.Node, counters: o.Counters, log: o.Log, seed: maphash.MakeSeed(), limit: cmp.Or(o.Connections, MaxConnections), usage: map[string]usage{}}
	if s.counters == nil {
		s.counters = &Counters{}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// errLimit is the error for a limit of limits.go.
var errLimit = errors.New("a limit is reached")

// take adds to the usage of an attachment, unless it would exceed a limit. The values can be
// negative.
func (s *Server) take(attachment string, connections, ports int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.usage[attachment]
	u.connections += connections
	u.ports += ports
	if connections > 0 && (u.connections > MaxAttachmentConnections || s.connections >= s.limit) ||
		ports > 0 && u.ports > MaxAttachmentPorts {
		return false
	}
	s.connections += connections
	s.usage[attachment] = u
	if u == (usage{}) {
		delete(s.usage, attachment)
	}
	return true
}

// Serve handles one redirected TCP connection until it ends. dst is the server that the
// client connected to. Serve closes client. It returns when the ports of the connection are
// released: MediaTimeout after the end if media are left open, or when ctx ends. When ctx ends,
// both connections are closed. They are reset if the cause is ErrDeleted, or if the server is not
// connected yet.
func (s *Server) Serve(ctx context.Context, client net.Conn, dst netip.AddrPort) {
	// The functions that need a large stack return before copy, which waits for hours: the
	// garbage collector then shrinks the stack (runtime.shrinkstack).
	c := s.accept(client, dst)
	if c == nil {
		return
	}
	if c.connect(ctx) {
		c.copy(ctx)
	}
	c.leave()
	c.media.end(ctx)
}

// accept returns the control connection of a client, or nil if it is refused.
func (s *Server) accept(client net.Conn, dst netip.AddrPort) *control {
	c := &control{Server: s, client: newEnd(client), to: unmapped(dst), helper: HelperRTSP}
	from, err := netip.ParseAddrPort(client.RemoteAddr().String())
	if err != nil {
		c.client.reset()
		s.log.Error("a connection without an address", "address", client.RemoteAddr(), "err", err)
		return nil
	}
	c.from = unmapped(from)
	identity, owned := s.node.Owner(c.from.Addr())
	c.identity = identity
	if !owned {
		c.identity = c.from.Addr().String()
	}
	if !s.take(c.identity, 1, 0) {
		c.client.reset()
		c.refused(LimitExceeded, errLimit)
		return nil
	}
	c.counters.connections(c.helper, 1)
	if !owned {
		c.unreadable(NotAskedFor, nil)
	}
	return c
}

// leave ends what accept has begun.
func (c *control) leave() {
	c.counters.connections(c.helper, -1)
	c.take(c.identity, -1, 0)
}

// connect connects to the server.
func (c *control) connect(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	server, egress, err := c.node.Connect(ctx, c.from, c.to)
	if err != nil {
		// The client's connection is established already, so a reset comes closest to the
		// refusal of the server.
		c.client.reset()
		c.refused(Unreachable, err)
		return false
	}
	c.server = newEnd(server)
	c.addresses.Client, c.addresses.Egress, c.addresses.Server = c.from.Addr(), egress.Addr().Unmap(), c.to.Addr()
	c.answers.init(c.client)
	c.media.init(c)
	return true
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
