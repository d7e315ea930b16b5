package session

import (
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
}

// Server handles the redirected TCP connections of a node: RTSP and PNA.
type Server struct {
	node     Node
	counters *Counters
	log      *slog.Logger
	seed     maphash.Seed

	mu          sync.Mutex
	connections int
	usage       map[string]usage // by attachment
}

// usage is what the sessions of one attachment hold.
type usage struct{ connections, ports int }

// NewServer returns a Server.
func NewServer(o Options) *Server {
	s := &Server{node: o.Node, counters: o.Counters, log: o.Log, seed: maphash.MakeSeed(), usage: map[string]usage{}}
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
	if connections > 0 && (u.connections > MaxAttachmentConnections || s.connections >= MaxConnections) ||
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
// released: MediaTimeout after the end if media are left open, or when ctx ends.
func (s *Server) Serve(ctx context.Context, client net.Conn, dst netip.AddrPort) {
	c := &control{Server: s, client: newEnd(client), helper: HelperRTSP}
	from, err := netip.ParseAddrPort(client.RemoteAddr().String())
	if err != nil {
		c.client.reset()
		s.log.Error("a connection without an address", "address", client.RemoteAddr(), "err", err)
		return
	}
	from, dst = unmapped(from), unmapped(dst)
	identity, owned := s.node.Owner(from.Addr())
	c.identity = identity
	if !owned {
		c.identity = from.Addr().String()
	}
	c.log = s.log.With("attachment", c.identity, "client", from, "server", dst)
	if !s.take(c.identity, 1, 0) {
		c.client.reset()
		c.refused(LimitExceeded, errLimit)
		return
	}
	c.connected(ctx, from, dst, owned)
	s.take(c.identity, -1, 0)
	c.media.end(ctx)
}

// connected connects to the server, and copies until both directions have ended.
func (c *control) connected(ctx context.Context, from, dst netip.AddrPort, owned bool) {
	connecting, cancel := context.WithTimeout(ctx, ConnectTimeout)
	server, egress, err := c.node.Connect(connecting, from, dst)
	cancel()
	if err != nil {
		// The client's connection is established already, so a reset comes closest to the
		// refusal of the server.
		c.client.reset()
		c.refused(Unreachable, err)
		return
	}
	c.server = newEnd(server)
	c.addresses.Client, c.addresses.Egress, c.addresses.Server = from.Addr(), egress.Addr().Unmap(), dst.Addr()
	c.media.init(c)
	if !owned {
		c.unreadable(NotAskedFor, nil)
	}
	c.counters.connections(c.helper, 1)
	c.copy(ctx)
	c.counters.connections(c.helper, -1)
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
