package doctor

import (
	"net/netip"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/sockets"
)

func TestSymptoms(t *testing.T) {
	const s = time.Second
	// stuck is an upload that retransmits a full segment.
	stuck := sockets.Connection{State: sockets.Established, Inode: 1, Unsent: 80_000, Remote: netip.MustParseAddrPort("192.0.2.1:443"), TCPInfo: sockets.TCPInfo{
		Retransmits: 4, Backoff: 4, RTO: 3200 * time.Millisecond, SndMSS: 1448, RcvMSS: 536, AdvMSS: 1460, PMTU: 1500, Unacked: 10,
		LastDataSent: s, LastDataRecv: 4 * s, LastAckRecv: 4 * s, BytesAcked: 5,
	}}
	// waiting is a request that was acknowledged.
	waiting := sockets.Connection{
		State: sockets.Established, Inode: 1, Remote: netip.MustParseAddrPort("192.0.2.1:443"),
		TCPInfo: sockets.TCPInfo{AdvMSS: 1460, RcvMSS: 536, BytesAcked: 518, LastDataSent: 5 * s, LastDataRecv: 5 * s},
	}
	// hole has data after a gap.
	hole := waiting
	hole.ReceiveMemory, hole.RcvOOO = 2304, 1
	for _, c := range []struct {
		name   string
		of     sockets.Connection
		change func(*sockets.Connection)
		want   symptom
	}{
		{"only small segments were acknowledged", stuck, func(*sockets.Connection) {}, largeUnacked},
		{"full segments were acknowledged", stuck, func(c *sockets.Connection) { c.BytesAcked = 1449 }, noAck},
		{"later segments arrived", stuck, func(c *sockets.Connection) { c.Sacked, c.BytesAcked = 1, 9999 }, largeLost},
		{"acknowledgements arrive", stuck, func(c *sockets.Connection) { c.LastAckRecv, c.BytesAcked = s, 9999 }, largeLost},
		{"a small segment", stuck, func(c *sockets.Connection) { c.Unsent = 100 }, noAck},
		{"three retransmissions", stuck, func(c *sockets.Connection) { c.Retransmits = 3 }, healthy},
		{"closed by the program", stuck, func(c *sockets.Connection) { c.Inode, c.State = 0, sockets.FinWait1 }, healthy},
		{"nothing is sent", stuck, func(c *sockets.Connection) { c.Unacked, c.BytesReceived = 0, 1 }, healthy},
		{"a client that has left", stuck, func(c *sockets.Connection) {
			c.Local, c.Remote = netip.MustParseAddrPort("10.0.0.1:8080"), netip.MustParseAddrPort("192.0.2.1:2000")
			c.Sacked = 1
		}, healthy},
		{"a client that acknowledges", stuck, func(c *sockets.Connection) {
			c.Local, c.Remote, c.LastAckRecv = netip.MustParseAddrPort("10.0.0.1:8080"), netip.MustParseAddrPort("192.0.2.1:2000"), s
		}, largeLost},
		{"a SYN", stuck, func(c *sockets.Connection) { c.State, c.Retransmits = sockets.SynSent, 3 }, synUnanswered},
		{"a new SYN", stuck, func(c *sockets.Connection) { c.State, c.Retransmits = sockets.SynSent, 2 }, healthy},
		{"TLS without an answer", waiting, func(*sockets.Connection) {}, noData},
		{"TLS with an answer", waiting, func(c *sockets.Connection) { c.BytesReceived = 1 }, healthy},
		{"TLS, for four seconds", waiting, func(c *sockets.Connection) { c.LastDataSent = 4 * s }, healthy},
		{"a short request", waiting, func(c *sockets.Connection) { c.BytesAcked = 100 }, healthy},
		{"another port", waiting, func(c *sockets.Connection) { c.Remote = netip.MustParseAddrPort("192.0.2.1:80") }, healthy},
		{"nothing was sent", waiting, func(c *sockets.Connection) { c.BytesAcked = 1 }, healthy},
		{"a gap", hole, func(c *sockets.Connection) { c.BytesReceived = 7 }, gap},
		{"a gap for four seconds", hole, func(c *sockets.Connection) { c.LastDataRecv, c.BytesReceived = 4*s, 7 }, healthy},
		{"a gap after full segments", hole, func(c *sockets.Connection) { c.RcvMSS, c.BytesReceived = 1448, 9999 }, healthy},
		{"a gap, with a small MSS", hole, func(c *sockets.Connection) { c.AdvMSS, c.RcvMSS, c.BytesReceived, c.DataSegsIn = 524, 524, 300, 9 }, gap},
		{"a gap after full segments, with a small MSS", hole, func(c *sockets.Connection) { c.AdvMSS, c.RcvMSS, c.BytesReceived, c.DataSegsIn = 524, 524, 4192, 9 }, healthy},
		{"a gap that was filled", hole, func(c *sockets.Connection) { c.ReceiveMemory, c.BytesReceived = 0, 9999 }, healthy},
		{"data that the program does not read", hole, func(c *sockets.Connection) { c.Unread, c.BytesReceived = 9999, 9999 }, healthy},
		{"all data arrived", hole, func(c *sockets.Connection) { c.State, c.BytesReceived = sockets.CloseWait, 9999 }, healthy},
	} {
		x := c.of
		c.change(&x)
		if got := symptomOf(&x, false); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	waiting.Local, waiting.Remote, waiting.BytesAcked = netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("192.0.2.1:8080"), 2
	if got := symptomOf(&waiting, true); got != noData {
		t.Errorf("a container that was asked about: %d", got)
	}
	if got := stuckTime(&stuck); got != 4*s {
		t.Errorf("stuck for %s", got)
	}
}

// TestSocketGroups: connections are grouped by destination and symptom; a destination that does
// not answer new connections is no black hole; memory is bounded.
func TestSocketGroups(t *testing.T) {
	x := newSocketFacts(false)
	at := func(i int) *sockets.Connection {
		return &sockets.Connection{Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 80), TCPInfo: sockets.TCPInfo{Retransmits: uint8(i)}}
	}
	for container := range 3 {
		x.add(largeUnacked, at(2), container)
		x.add(largeUnacked, at(1), container)
	}
	x.add(largeUnacked, at(1), 0)
	x.add(synUnanswered, at(2), 0)
	holes := x.blackHoles()
	if len(holes) != 1 || holes[0].count != 4 || len(holes[0].containers) != 3 || holes[0].remote != at(1).Remote {
		t.Errorf("%+v", holes)
	}
	if n := testNode(3); holes[0].blackHole(n).Message == "" || n.containers(holes[0].containers) != "a and 2 other containers" {
		t.Errorf("%s", holes[0].blackHole(n))
	}
	x.add(largeLost, &sockets.Connection{Local: netip.MustParseAddrPort("10.0.0.1:80"), Remote: netip.MustParseAddrPort("192.0.2.1:5000")}, 0)
	x.add(largeLost, &sockets.Connection{Local: netip.MustParseAddrPort("10.0.0.1:80"), Remote: netip.MustParseAddrPort("192.0.2.1:5001")}, 0)
	if g := x.with(largeLost); len(g) != 1 || g[0].count != 2 || g[0].blackHole(testNode(1)).Object != "the path to 192.0.2.1" {
		t.Errorf("of one client: %+v", g)
	}
	for i := range 2 * maxSocketGroups {
		x.add(noAck, at(i), 0)
	}
	if len(x.groups) != maxSocketGroups {
		t.Errorf("%d groups", len(x.groups))
	}
}

func TestShortened(t *testing.T) {
	all := make([]Finding, maxSocketFindings+2)
	if got := shortened(all[1:]); len(got) != maxSocketFindings+1 {
		t.Errorf("%d findings", len(got))
	}
	all[maxSocketFindings].Object, all[maxSocketFindings].Message = "the path", "is narrow"
	got := shortened(all)
	if last := got[len(got)-1]; len(got) != maxSocketFindings+1 || last.String() != "2 more destinations have the same fault, the first: the path is narrow" {
		t.Errorf("%d findings, the last %s", len(got), last)
	}
}
