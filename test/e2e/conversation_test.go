package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// listener knows what the server receives, and the conntrack entries of the node.
type listener struct {
	*world
	table *conntrack.Conn
	heard *nstest.Capture
	words int
	tcp   map[netip.Addr]netip.AddrPort // the server's listeners by address
	udp   map[netip.Addr]netip.AddrPort
}

func (w *world) listener() *listener {
	w.t.Helper()
	l := &listener{world: w, tcp: map[netip.Addr]netip.AddrPort{}, udp: map[netip.Addr]netip.AddrPort{}}
	w.keepUDPFlows()
	assert.NoError(w.t, w.Node.Do(func() (err error) {
		l.table, err = conntrack.Open()
		return err
	}))
	w.t.Cleanup(func() { assert.NoError(w.t, l.table.Close()) })
	l.heard = assert.Must(w.Server.Capture("eth0", func(p nstest.Packet) bool { return !p.Outgoing && len(p.Payload) > 0 }))(w.t)
	return l
}

// keepUDPFlows sets the timeout of UDP flows to longer than any test takes. The kernel's
// default for a new flow is 30 s.
func (w *world) keepUDPFlows() {
	w.t.Helper()
	for _, name := range []string{"nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"} {
		assert.NoError(w.t, w.Node.Sysctl("net.netfilter."+name, "3600"))
	}
}

// conversation is a flow that stays open: the server echoes what it receives.
type conversation struct {
	net.Conn
	l     *listener
	tuple conntrack.Tuple // of the first packet
	as    netip.AddrPort  // the source that the server sees
	id    uint32          // ID of the conntrack entry
}

// converse begins a conversation with an address of the server.
func (l *listener) converse(from *nstest.NS, network string, server netip.Addr) *conversation {
	l.t.Helper()
	if !l.tcp[server].IsValid() {
		l.tcp[server], l.udp[server] = l.servers(server)
	}
	to, proto := l.udp[server], uint8(unix.IPPROTO_UDP)
	if network == "tcp" {
		to, proto = l.tcp[server], unix.IPPROTO_TCP
	}
	c := &conversation{Conn: assert.Must(from.Dial(soon(l.t), network, netip.AddrPort{}, to))(l.t), l: l}
	l.t.Cleanup(func() { _ = c.Close() })
	own := netip.MustParseAddrPort(c.LocalAddr().String())
	c.tuple = conntrack.Tuple{Src: own.Addr(), Dst: to.Addr(), SrcPort: own.Port(), DstPort: to.Port(), Proto: proto}
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		// Go sends a keepalive after 15 s without data. If the flow's entry was deleted, the
		// rules would count it as a new flow.
		assert.NoError(l.t, tcp.SetKeepAlive(false))
		assert.Must(c.Write([]byte("ECHO\n")))(l.t)
	}
	c.as = c.asks()
	c.id = c.entry()
	return c
}

func (c *conversation) String() string { return fmt.Sprintf("%s, seen as %s", c.tuple, c.as) }

// asks sends a message, waits for the echo, and returns the source that the server saw.
func (c *conversation) asks() netip.AddrPort {
	c.l.t.Helper()
	word := c.word()
	say(c.l.t.(*testing.T), c, word)
	return c.l.lastFrom(c.l.heard, word)
}

func (c *conversation) word() string {
	c.l.words++
	return fmt.Sprintf("word %d.", c.l.words)
}

// entry returns the ID of the flow's conntrack entry, or 0 if conntrack has no entry.
func (c *conversation) entry() uint32 {
	c.l.t.Helper()
	f, err := c.l.table.Get(c.tuple)
	if errors.Is(err, conntrack.ErrNotFound) {
		return 0
	}
	assert.NoError(c.l.t, err)
	return f.ID
}

// wantSame checks that the flow is unchanged.
func (c *conversation) wantSame(when string) {
	c.l.t.Helper()
	if id := c.entry(); id != c.id {
		c.l.t.Errorf("%s: %v: entry %d has become %d", when, c, c.id, id)
		return
	}
	if as := c.asks(); as != c.as {
		c.l.t.Errorf("%s: %v: it continues as %s", when, c, as)
	}
}

// wantNew checks that the flow was deleted and begins again with one of these addresses.
// The far end answers a segment of the old TCP connection with a reset.
func (c *conversation) wantNew(when string, as ...netip.Addr) {
	t := c.l.t
	t.Helper()
	if id := c.entry(); id == c.id {
		t.Errorf("%s: %v: entry %d is still there", when, c, id)
		return
	}
	if c.tuple.Proto == unix.IPPROTO_TCP {
		if err := c.refused(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v: it is not reset: %v", when, c, err)
		}
		return
	}
	if seen := c.asks(); !slices.Contains(as, seen.Addr()) {
		t.Errorf("%s: %v: it begins again as %s, want one of %v", when, c, seen, as)
	}
}

// refused sends a message on a connection that the far end does not know, and returns
// the error. A late acknowledgement may be enough to reset the connection.
func (c *conversation) refused() error {
	if _, err := c.Write([]byte(c.word())); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 100))
	return err
}

// noAnswer is how long the test waits for an answer that must not come.
const noAnswer = 700 * time.Millisecond

// wantStuck checks that the entries of flows are unchanged, and that packets get no answer.
func wantStuck(when string, flows ...*conversation) {
	end := time.Now().Add(noAnswer)
	for _, c := range flows {
		c.l.t.Helper()
		if id := c.entry(); id != c.id {
			c.l.t.Errorf("%s: %v: entry %d has become %d", when, c, c.id, id)
		}
		assert.Must(c.Write([]byte(c.word())))(c.l.t)
		assert.NoError(c.l.t, c.SetReadDeadline(end))
	}
	for _, c := range flows {
		if n, err := c.Read(make([]byte, 100)); !isTimeout(err) {
			c.l.t.Errorf("%s: %v: it has %d bytes, %v", when, c, n, err)
		}
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// syncs waits for a sync that began after the call.
func (d *daemon) syncs() {
	d.w.t.Helper()
	// A sync may have been running already.
	for range 2 {
		last := d.metric("masq_last_sync_timestamp_seconds")
		assert.NoError(d.w.t, d.Process.Signal(syscall.SIGHUP))
		until(d.w.t, "masqd syncs", func() bool { return d.metric("masq_last_sync_timestamp_seconds") != last })
	}
}

// counts waits until a metric has a value, and checks that it keeps the value.
func (d *daemon) counts(metric, want string) {
	d.w.t.Helper()
	until(d.w.t, fmt.Sprintf("%s is %s", metric, want), func() bool { return d.metric(metric) == want })
	d.syncs()
	if got := d.metric(metric); got != want {
		d.w.t.Errorf("%s is %s, not %s", metric, got, want)
	}
}

// inRules reports whether an address is in the managed table.
func (w *world) inRules(a netip.Addr) bool {
	w.t.Helper()
	isPart := func(r rune) bool { return !strings.ContainsRune("0123456789abcdef.:", r) }
	for word := range strings.FieldsFuncSeq(w.nodeRun("nft", "list", "table", "inet", "masq"), isPart) {
		if word == a.String() {
			return true
		}
	}
	return false
}
