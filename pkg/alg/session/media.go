package session

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/alg/rtsp"
	"golang.org/x/sys/unix"
)

// media are the ports and the media of one control connection.
type media struct {
	c *control

	mu      sync.Mutex
	pending []pending
	streams []stream
	renewal *time.Timer // nil while no stream is open
	renewed int         // how often it has fired
}

// pending is a request without an answer.
type pending struct {
	cseq     uint32
	teardown bool
	// session and uri are hashes: a hostile client could make us store 16 KiB each. Two
	// equal hashes would end media of the same client too early.
	session, uri uint64
	mappings     []rtsp.Mapping
}

// stream is a stream whose media are open.
type stream struct {
	session, uri uint64
	ports        rtsp.Ports // reserved
	media        []Media
}

func (m *media) init(c *control) { m.c = c }

// errMalformed is the error for a request to which no answer could be assigned.
var errMalformed = errors.New("CSeq is missing or used twice")

// offer rewrites a SETUP request and remembers it. It returns nil and an error if it is
// refused.
func (m *media) offer(p *rtsp.Message) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out, mappings, err := rtsp.RewriteSetup(nil, p, m.c.addresses, func(own rtsp.Ports) (rtsp.Ports, error) {
		if err := m.check(p, false); err != nil {
			return rtsp.Ports{}, err // before Reserve, which costs more
		}
		return m.reservePorts(own)
	})
	if err != nil {
		m.release(mappings...)
		return nil, err
	}
	if len(mappings) > 0 {
		m.add(p, pending{mappings: mappings})
	}
	return out, nil
}

// check checks that a request can be added. m.mu must be held.
func (m *media) check(p *rtsp.Message, teardown bool) error {
	cseq, err := p.CSeq()
	if err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	open := len(m.streams)
	for _, x := range m.pending {
		if x.cseq == cseq {
			return fmt.Errorf("%w: %d", errMalformed, cseq)
		}
		if !x.teardown {
			open++
		}
	}
	if len(m.pending) >= MaxPending || !teardown && open >= MaxStreams {
		return fmt.Errorf("%w: %d streams and %d requests", errLimit, open, len(m.pending))
	}
	return nil
}

// add remembers a request that was checked. m.mu must be held.
func (m *media) add(p *rtsp.Message, x pending) {
	x.cseq, _ = p.CSeq()
	id := p.Session()
	x.session, x.uri = m.hash([]byte(id)), m.hash(p.URI())
	m.pending = append(m.pending, x)
}

// reservePorts reserves ports of the egress address that stand for ports of the client.
func (m *media) reservePorts(own rtsp.Ports) (rtsp.Ports, error) {
	n := count(own)
	first, err := m.reserve(n)
	if err != nil {
		return rtsp.Ports{}, err
	}
	out := rtsp.Ports{First: first}
	if n == 2 {
		out.Second = first + 1
	}
	return out, nil
}

// errNoPort is the error if Node.Reserve has no port.
var errNoPort = errors.New("no free ports")

func (m *media) reserve(n int) (uint16, error) {
	c := m.c
	if !c.take(c.identity, 0, n) {
		return 0, fmt.Errorf("%w: %d ports of the attachment", errLimit, MaxAttachmentPorts)
	}
	first, err := c.node.Reserve(c.identity, unix.IPPROTO_UDP, c.addresses.Egress, n)
	if err == nil && first < MinPort {
		c.node.Release(unix.IPPROTO_UDP, c.addresses.Egress, first, n)
		err = fmt.Errorf("port %d is below %d", first, MinPort)
	}
	if err != nil {
		c.take(c.identity, 0, -n)
		return 0, fmt.Errorf("%w: %w", errNoPort, err)
	}
	return first, nil
}

// release releases the egress ports of mappings.
func (m *media) release(all ...rtsp.Mapping) {
	for _, x := range all {
		m.releasePorts(x.Egress)
	}
}

func (m *media) releasePorts(p rtsp.Ports) {
	c, n := m.c, count(p)
	c.node.Release(unix.IPPROTO_UDP, c.addresses.Egress, p.First, n)
	c.take(c.identity, 0, -n)
}

func count(p rtsp.Ports) int {
	if p.Second == 0 {
		return 1
	}
	return 2
}

// answered handles the final answer to a request. For the answer to a SETUP request it
// returns what the client gets, or an error; for others nil.
func (m *media) answered(a *rtsp.Message) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.pending) == 0 {
		return nil, nil
	}
	cseq, err := a.CSeq()
	i := slices.IndexFunc(m.pending, func(x pending) bool { return x.cseq == cseq })
	if err != nil || i < 0 {
		return nil, nil //nolint:nilerr // an answer to a request that was passed on unchanged
	}
	x := m.pending[i]
	m.pending = slices.Delete(m.pending, i, i+1)
	if x.teardown {
		if a.Status == statusOK {
			m.endStreams(x)
		}
		return nil, nil
	}
	out, accepted, udp, err := rtsp.RewriteSetupAnswer(nil, a, m.c.addresses, x.mappings)
	if err != nil || !udp {
		m.release(x.mappings...)
		return out, err
	}
	for _, unused := range x.mappings {
		if unused != accepted.Mapping {
			m.release(unused)
		}
	}
	if id := a.Session(); id != "" {
		x.session = m.hash([]byte(id))
	}
	// Another SETUP of a stream replaces its ports (RFC 2326, section 10.4).
	m.endStream(func(s stream) bool { return s.session == x.session && s.uri == x.uri })
	if err := m.open(stream{session: x.session, uri: x.uri, ports: accepted.Egress}, accepted); err != nil {
		m.release(accepted.Mapping)
		return nil, err
	}
	return out, nil
}

const statusOK = 200

// open opens the media of a stream.
func (m *media) open(s stream, a rtsp.Media) error {
	pairs := [2][3]uint16{
		{a.Client.First, a.Egress.First, a.Server.First},
		{a.Client.Second, a.Egress.Second, a.Server.Second},
	}
	for _, p := range pairs[:count(a.Client)] {
		x := m.of(p[0], p[1], p[2])
		if err := m.c.node.Open(x); err != nil {
			m.closeAll(s.media)
			return err
		}
		s.media = append(s.media, x)
	}
	m.keep(s)
	return nil
}

// of returns the media of one port. server is 0 if it is not known.
func (m *media) of(client, egress, server uint16) Media {
	a := m.c.addresses
	return Media{
		Identity: m.c.identity, Proto: unix.IPPROTO_UDP,
		Client: netip.AddrPortFrom(a.Client, client),
		Egress: netip.AddrPortFrom(a.Egress, egress),
		Server: netip.AddrPortFrom(a.Server, server),
	}
}

// keep adds a stream whose media are open. m.mu must be held.
func (m *media) keep(s stream) {
	m.streams = append(m.streams, s)
	m.c.openedMedia(len(s.media))
	if m.renewal == nil {
		m.renewal = time.AfterFunc(RenewInterval, m.renew)
	}
}

// teardown remembers a TEARDOWN request. If that is not possible, the media end with the
// connection.
func (m *media) teardown(p *rtsp.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.streams)+len(m.pending) > 0 && m.check(p, true) == nil {
		m.add(p, pending{teardown: true})
	}
}

// endStreams ends what a TEARDOWN request names: one stream, or all of a session.
func (m *media) endStreams(x pending) {
	if !m.endStream(func(s stream) bool { return s.session == x.session && s.uri == x.uri }) {
		m.endStream(func(s stream) bool { return s.session == x.session })
	}
}

// endStream closes the media of streams, and releases their ports. It reports whether there
// was one.
func (m *media) endStream(which func(stream) bool) bool {
	before := len(m.streams)
	m.streams = slices.DeleteFunc(m.streams, func(s stream) bool {
		if !which(s) {
			return false
		}
		m.closeAll(s.media)
		m.releasePorts(s.ports)
		return true
	})
	return len(m.streams) < before
}

func (m *media) closeAll(all []Media) {
	for _, x := range all {
		if err := m.c.node.Close(x); err != nil {
			m.c.logger().Warn("media stay open until their timeout", "media", x, "err", err)
		}
	}
}

// renew keeps the media open while the connection lives: a paused stream has no packets.
func (m *media) renew() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.renewal == nil {
		return // the connection has ended
	}
	m.renewed++
	for _, s := range m.streams {
		for _, x := range s.media {
			if x.Server.Port() == 0 && m.renewed%renewalsOfElement != 0 {
				continue
			}
			if err := m.c.node.Renew(x); err != nil {
				m.c.refused(reasonOf(err), fmt.Errorf("renew: %w", err))
			}
		}
	}
	m.renewal.Reset(RenewInterval)
}

// renewalsOfElement is how many RenewIntervals pass between two renewals of media whose
// server has no known port. No packet changes their timeout, but each renewal is a
// transaction of nftables.
const renewalsOfElement = 3

// end releases the ports after the connection has ended. Media stay open: a session of RTSP
// outlives its connection (RFC 2326, section 1.3). Until they time out, their ports stay
// reserved, unless ctx ends.
func (m *media) end(ctx context.Context) {
	m.mu.Lock()
	if m.renewal != nil {
		m.renewal.Stop()
		m.renewal = nil
	}
	for _, x := range m.pending {
		m.release(x.mappings...)
	}
	for _, x := range m.pending {
		if x.teardown {
			m.endStreams(x) // players do not wait for the answer
		}
	}
	streams := m.streams
	m.pending, m.streams = nil, nil
	m.mu.Unlock()
	if len(streams) == 0 {
		return
	}
	timeout := time.NewTimer(MediaTimeout)
	defer timeout.Stop()
	select {
	case <-timeout.C:
	case <-ctx.Done():
	}
	for _, s := range streams {
		m.releasePorts(s.ports)
	}
}
