package session

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/talk"
)

// The limits of talk. A program has one call at a time and uses one socket for it.
const (
	// MaxTalkCalls is for all attachments. As many paths can exist besides. An attachment can
	// have 2*MaxAttachmentTalkCalls calls and paths together.
	MaxTalkCalls           = 256
	MaxAttachmentTalkCalls = 8
	// TalkTimeout is how long a call and a path last without a message. Daemons keep an
	// invitation for 60 s (MAX_LIFE in table.c of talkd), and programs repeat it each 30 s
	// (RING_WAIT in talk.h).
	TalkTimeout = time.Minute
	// talkRenewInterval is the least time between two renewals of a call. Each is a
	// transaction, and a container can send its messages as fast as it likes.
	talkRenewInterval = 10 * time.Second
)

// talkFailed is the answer to a client whose message is refused (FAILED of
// <protocols/talkd.h>). Without it the client waits until it gives up.
const talkFailed talk.Answer = 2

// Talk passes on the datagrams of talk and ntalk between containers and daemons outside.
type Talk struct {
	node     TalkNode
	counters *Counters
	log      *slog.Logger

	mu    sync.Mutex
	paths map[pathKey]*path
	calls map[callKey]*call
	usage map[string]int // paths and calls of each attachment
}

// TalkOptions are the options of a Talk.
type TalkOptions struct {
	Node     TalkNode
	Counters *Counters    // can be shared; nil: not counted
	Log      *slog.Logger // nil: nothing is logged. Refusals are logged at level debug
}

// NewTalk returns a Talk.
func NewTalk(o TalkOptions) *Talk {
	t := &Talk{node: o.Node, counters: o.Counters, log: o.Log, paths: map[pathKey]*path{}, calls: map[callKey]*call{}, usage: map[string]int{}}
	if t.counters == nil {
		t.counters = &Counters{}
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	return t
}

// Datagram handles one datagram that the node redirected. dst is its destination before
// that. Answers leave by socket. Talk does not keep b. A path that the datagram begins ends
// with ctx; calls end by their timeout.
func (t *Talk) Datagram(ctx context.Context, src, dst netip.AddrPort, b []byte, socket Datagrams) {
	if identity, ok := t.node.Owner(src.Addr()); ok {
		t.fromClient(ctx, identity, src, dst, b, socket)
		return
	}
	t.fromServer(ctx, src, dst, b, socket)
}

// fromClient passes on a request of a container to the daemon of another host.
func (t *Talk) fromClient(ctx context.Context, identity string, client, server netip.AddrPort, b []byte, socket Datagrams) {
	p, err := t.pathTo(ctx, pathKey{client, server}, identity, socket)
	if err != nil {
		t.refuse(identity, client, server, err)
		return
	}
	r, err := parseTalk(b)
	switch {
	case err != nil:
		t.counters.unreadable(HelperTalk, Invalid)
	case r.Type == talk.Announce:
		var announced netip.AddrPort
		if announced, err = t.announce(identity, client, server, p.egress, r, socket); err != nil {
			t.refuse(identity, client, server, err)
			answer, _ := talk.Response{Format: r.Format, Type: r.Type, Answer: talkFailed, ID: r.ID}.AppendBinary(nil)
			_, _ = socket.WriteToUDPAddrPort(answer, client)
			return
		}
		err = talk.Rewrite(r.Format, b, announced, p.egress)
	default:
		if r.Type == talk.Delete {
			t.hangUp(client.Addr(), server.Addr(), r)
		}
		err = talk.Rewrite(r.Format, b, netip.AddrPort{}, p.egress)
	}
	if err != nil {
		t.log.Debug("message of talk is passed on unchanged", "attachment", identity, "client", client, "server", server, "err", err)
	}
	p.send(b)
}

// parseTalk reads a request of either format.
func parseTalk(b []byte) (talk.Request, error) {
	f, ok := talk.FormatOf(len(b))
	if !ok {
		return talk.Request{}, talk.ErrMalformed
	}
	return talk.ParseRequest(f, b)
}

// refuse counts and logs a refusal.
func (t *Talk) refuse(identity string, from, to netip.AddrPort, err error) {
	reason := Failed
	switch {
	case errors.Is(err, errLimit):
		reason = LimitExceeded
	case errors.Is(err, errForeign):
		reason = ForeignAddress
	case errors.Is(err, ErrInUse):
		reason = InUse
	}
	t.counters.refused(HelperTalk, reason)
	t.log.Debug("message of talk refused", "attachment", identity, "from", from, "to", to, "reason", reason, "err", err)
}

var errForeign = errors.New("the message names another host")

// pathKey is the two ends of a path, as the sender of the first message sees them.
type pathKey struct{ from, to netip.AddrPort }

// path passes on the messages of one sender to one daemon, and the answers.
type path struct {
	identity string
	conn     net.Conn
	egress   netip.AddrPort // what the daemon sees as the source
}

// send sends a message, and keeps the path for another period.
func (p *path) send(b []byte) {
	_ = p.conn.SetReadDeadline(time.Now().Add(TalkTimeout))
	_, _ = p.conn.Write(b) // the error is about an earlier datagram; programs repeat their messages
}

// pathTo returns the path from a client to a daemon outside.
func (t *Talk) pathTo(ctx context.Context, k pathKey, identity string, socket Datagrams) (*path, error) {
	return t.path(ctx, k, identity, func() (net.Conn, netip.AddrPort, error) { return t.node.ConnectUDP(k.from, k.to) },
		func(b []byte) { _, _ = socket.WriteToUDPAddrPort(b, k.from) })
}

// path returns a path, and makes it if it does not exist. answer receives the daemon's messages.
func (t *Talk) path(ctx context.Context, k pathKey, identity string, connect func() (net.Conn, netip.AddrPort, error), answer func([]byte)) (*path, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.paths[k]; p != nil {
		if p.identity == identity {
			return p, nil
		}
		p.end() // of a deleted attachment that had the address
	}
	if len(t.paths) >= MaxTalkCalls || !t.take(identity) {
		return nil, errLimit
	}
	conn, egress, err := connect()
	if err != nil {
		t.give(identity)
		return nil, err
	}
	p := &path{identity, conn, egress}
	t.paths[k] = p
	t.counters.connections(HelperTalk, 1)
	_ = conn.SetReadDeadline(time.Now().Add(TalkTimeout))
	stop := context.AfterFunc(ctx, p.end)
	go func() {
		defer stop()
		p.receive(answer)
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.paths[k] == p {
			delete(t.paths, k)
		}
		t.give(identity)
		t.counters.connections(HelperTalk, -1)
		_ = conn.Close()
	}()
	return p, nil
}

// end ends the path. It does not set a deadline instead: a concurrent send replaces that.
func (p *path) end() { _ = p.conn.Close() }

// EndExcept ends the calls and paths of all attachments for which keep returns false.
func (t *Talk) EndExcept(keep func(identity string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, c := range t.calls {
		if !keep(c.identity) {
			t.drop(k, c)
		}
	}
	for _, p := range t.paths {
		if !keep(p.identity) {
			p.end()
		}
	}
}

// maxResponse is more than a response has.
const maxResponse = 128

// receive receives answers until the path ends.
func (p *path) receive(answer func([]byte)) {
	b := make([]byte, maxResponse)
	for {
		n, err := p.conn.Read(b)
		if errors.Is(err, unix.ECONNREFUSED) {
			continue // an ICMP error: no daemon listens; the program ends after some attempts
		}
		if err != nil {
			return
		}
		if n < len(b) {
			answer(b[:n])
		}
	}
}

// take adds a path or a call to the usage of an attachment, unless it would exceed the
// limit. t.mu must be held.
func (t *Talk) take(identity string) bool {
	if t.usage[identity] >= 2*MaxAttachmentTalkCalls {
		return false
	}
	t.usage[identity]++
	return true
}

// give is the inverse of take.
func (t *Talk) give(identity string) {
	if t.usage[identity]--; t.usage[identity] <= 0 {
		delete(t.usage, identity)
	}
}
