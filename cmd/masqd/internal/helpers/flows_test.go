package helpers

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// fakeConn is a conntrack table in memory.
type fakeConn struct {
	flows    []conntrack.Flow
	nextID   uint32
	timeouts map[conntrack.Tuple]time.Duration
}

func (c *fakeConn) find(t conntrack.Tuple) int {
	for i, f := range c.flows {
		if f.Original == t || f.Reply == t {
			return i
		}
	}
	return -1
}

func (c *fakeConn) Create(e conntrack.Entry) error {
	if c.find(e.Original()) >= 0 || c.find(e.Reply()) >= 0 {
		return conntrack.ErrExists
	}
	c.nextID++
	c.flows = append(c.flows, conntrack.Flow{Original: e.Original(), Reply: e.Reply(), ID: c.nextID, Status: conntrack.SrcNAT})
	return c.SetTimeout(e.Original(), e.Timeout)
}

func (c *fakeConn) SetTimeout(t conntrack.Tuple, d time.Duration) error {
	if c.find(t) < 0 {
		return conntrack.ErrNotFound
	}
	if c.timeouts == nil {
		c.timeouts = map[conntrack.Tuple]time.Duration{}
	}
	c.timeouts[t] = d
	return nil
}

func (c *fakeConn) Get(t conntrack.Tuple) (conntrack.Flow, error) {
	if i := c.find(t); i >= 0 {
		return c.flows[i], nil
	}
	return conntrack.Flow{}, conntrack.ErrNotFound
}

func (c *fakeConn) Delete(t conntrack.Tuple, id uint32) error {
	i := c.find(t)
	if i < 0 || id != 0 && c.flows[i].ID != id {
		return conntrack.ErrNotFound
	}
	c.flows = append(c.flows[:i], c.flows[i+1:]...)
	return nil
}

func (c *fakeConn) DeleteMatching(_ context.Context, filter conntrack.Filter, match func(*conntrack.Flow) bool) (n int, err error) {
	c.flows = slices.DeleteFunc(c.flows, func(f conntrack.Flow) bool {
		if !filter.Match(&f) || !match(&f) {
			return false
		}
		n++
		return true
	})
	return n, nil
}

// TestForgetListener deletes the datagrams' flows to earlier listeners, and no other flow.
func TestForgetListener(t *testing.T) {
	const client, daemon = "10.88.0.5:5000", "198.51.100.1:518"
	redirected := func(to string) conntrack.Flow {
		return conntrack.Flow{Original: tuple(client, daemon), Reply: tuple(to, client), Status: conntrack.DstNAT}
	}
	tcp := redirected("192.0.2.1:40000")
	tcp.Original.Proto, tcp.Reply.Proto = unix.IPPROTO_TCP, unix.IPPROTO_TCP
	dns := conntrack.Flow{Original: tuple(client, "10.96.0.10:53"), Reply: tuple("192.0.2.1:10053", client), Status: conntrack.DstNAT}
	for _, tt := range []struct {
		name    string
		flow    conntrack.Flow
		deleted bool
	}{
		{"to an earlier listener", redirected("192.0.2.1:40000"), true},
		{"to the listener", redirected("192.0.2.1:41000"), false},
		{"to a container", redirected("10.88.0.9:518"), false},
		{"to a daemon of the node", redirected("192.0.2.1:518"), false},
		{"to the daemon", conntrack.Flow{Original: tuple(client, daemon), Reply: tuple(daemon, "192.0.2.1:7"), Status: conntrack.SrcNAT}, false},
		{"of TCP", tcp, false},
		{"of a service", dns, false},
	} {
		c := &fakeConn{flows: []conntrack.Flow{tt.flow}}
		f := &flows{conn: c}
		if err := f.forgetListener(t.Context(), egress, 41000, map[uint16]bool{518: true}); err != nil || (len(c.flows) == 0) != tt.deleted {
			t.Errorf("%s: %v, flows: %+v", tt.name, err, c.flows)
		}
	}
}

func entry() conntrack.Entry {
	return conntrack.Entry{
		Proto: unix.IPPROTO_UDP, Src: netip.MustParseAddrPort("10.88.0.5:5000"), Dst: netip.MustParseAddrPort("198.51.100.1:6000"),
		NAT: netip.MustParseAddrPort("192.0.2.1:40000"), Timeout: time.Minute,
	}
}

// tuple returns a tuple of UDP.
func tuple(src, dst string) conntrack.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return conntrack.Tuple{Proto: unix.IPPROTO_UDP, Src: s.Addr(), SrcPort: s.Port(), Dst: d.Addr(), DstPort: d.Port()}
}

// TestCreateMakesRoom: a flow takes the place of an earlier one of the same client and
// server, and of one that the server's packets made with the node itself, and of no other.
func TestCreateMakesRoom(t *testing.T) {
	const client, server, node = "10.88.0.5:5000", "198.51.100.1:6000", "192.0.2.1:40000"
	for _, tt := range []struct {
		name   string
		before []conntrack.Flow
		fails  bool
	}{
		{"no flow", nil, false},
		{"the client's, not translated", []conntrack.Flow{{Original: tuple(client, server), Reply: tuple(server, client)}}, false},
		{"the client's, with another port", []conntrack.Flow{{Original: tuple(client, server), Reply: tuple(server, "192.0.2.1:5000"), Status: conntrack.SrcNAT}}, false},
		{"the server's to the node", []conntrack.Flow{{Original: tuple(server, node), Reply: tuple(node, server)}}, false},
		{"both", []conntrack.Flow{{Original: tuple(client, server), Reply: tuple(server, client)}, {Original: tuple(server, node), Reply: tuple(node, server)}}, false},
		{"the server's to another container", []conntrack.Flow{{Original: tuple(server, node), Reply: tuple("10.88.0.9:7", server), Status: conntrack.DstNAT}}, true},
		{"another container's", []conntrack.Flow{{Original: tuple("10.88.0.9:7", server), Reply: tuple(server, node), Status: conntrack.SrcNAT}}, true},
		{"the node's", []conntrack.Flow{{Original: tuple(node, server), Reply: tuple(server, node)}}, true},
		{"the client's, and another container's", []conntrack.Flow{{Original: tuple(client, server), Reply: tuple(server, client)}, {Original: tuple("10.88.0.9:7", server), Reply: tuple(server, node), Status: conntrack.SrcNAT}}, true},
		{"to the client from outside", []conntrack.Flow{{Original: tuple(server, client), Reply: tuple(client, server)}}, true},
	} {
		c := &fakeConn{nextID: 100}
		for i, f := range tt.before {
			f.ID = uint32(i + 1)
			c.flows = append(c.flows, f)
		}
		f := &flows{conn: c}
		err := f.create(entry())
		if errors.Is(err, conntrack.ErrExists) != tt.fails || err != nil && !tt.fails {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.fails && len(c.flows) != len(tt.before) || !tt.fails && (len(c.flows) != 1 || c.flows[0].Reply != tuple(server, node)) {
			t.Errorf("%s: flows: %+v", tt.name, c.flows)
		}
	}
}

// TestRenewFlow: a flow gets its time again, is created again if it has vanished, and is
// deleted only if it is the created one.
func TestRenewFlow(t *testing.T) {
	c := &fakeConn{}
	f := &flows{conn: c}
	e := entry()
	for range 2 { // the first renewal creates it
		if err := f.renew(e); err != nil || len(c.flows) != 1 || c.timeouts[e.Original()] != e.Timeout {
			t.Fatalf("%v, flows: %+v", err, c.flows)
		}
		c.timeouts = nil
	}
	id := c.flows[0].ID
	other := e
	other.NAT = netip.MustParseAddrPort("192.0.2.1:40002")
	if err := f.delete(other); err != nil || len(c.flows) != 1 {
		t.Errorf("the flow of another egress port is deleted: %v", err)
	}
	if err := f.renew(other); err != nil || len(c.flows) != 1 || c.flows[0].ID == id {
		t.Errorf("another egress port: %v, %+v", err, c.flows)
	}
	if err := errors.Join(f.delete(other), f.delete(other)); err != nil || len(c.flows) != 0 {
		t.Errorf("after the end: %v, %+v", err, c.flows)
	}
}

// TestDeleteOpened deletes the flows of the server to the port that was open for it, and no other
// flow.
func TestDeleteOpened(t *testing.T) {
	const client, egress, server = "10.88.0.5:5000", "192.0.2.1:41000", "198.51.100.1:6000"
	m := session.Media{
		Proto: unix.IPPROTO_UDP, Client: netip.MustParseAddrPort(client), Egress: netip.MustParseAddrPort(egress),
		Server: netip.MustParseAddrPort("198.51.100.1:0"),
	}
	from := func(server, egress, client string) conntrack.Flow {
		return conntrack.Flow{Original: tuple(server, egress), Reply: tuple(client, server), Status: conntrack.DstNAT}
	}
	node := conntrack.Flow{Original: tuple(server, egress), Reply: tuple(egress, server)}
	tcp := from(server, egress, client)
	tcp.Original.Proto, tcp.Reply.Proto = unix.IPPROTO_TCP, unix.IPPROTO_TCP
	for name, tt := range map[string]struct {
		flow    conntrack.Flow
		deleted bool
	}{
		"of the server":                 {from(server, egress, client), true},
		"of another port of the server": {from("198.51.100.1:7000", egress, client), true},
		"of another host":               {from("198.51.100.2:6000", egress, client), false},
		"to another port":               {from(server, "192.0.2.1:41001", client), false},
		"to another client":             {from(server, egress, "10.88.0.6:5000"), false},
		"of another protocol":           {tcp, false},
		"to the node":                   {node, false},
	} {
		c := &fakeConn{flows: []conntrack.Flow{tt.flow}}
		f := flows{conn: c}
		if err := f.deleteOpened(t.Context(), []session.Media{m}); err != nil || (len(c.flows) == 0) != tt.deleted {
			t.Errorf("a flow %s: %v left, %v", name, c.flows, err)
		}
	}
}

// TestDeleteMedia deletes the translated flows of a container in both directions, and no
// other flow.
func TestDeleteMedia(t *testing.T) {
	const server, node = "198.51.100.1:6000", "192.0.2.1:40000"
	of := func(client string) []conntrack.Flow {
		return []conntrack.Flow{
			{Original: tuple(client, server), Reply: tuple(server, node), Status: conntrack.SrcNAT},
			{Original: tuple(server, node), Reply: tuple(client, server), Status: conntrack.DstNAT},
		}
	}
	direct := conntrack.Flow{Original: tuple("10.88.0.5:5001", server), Reply: tuple(server, "10.88.0.5:5001")}
	stays := append(of("10.88.0.6:5000"), direct)
	c := &fakeConn{flows: append(of("10.88.0.5:5000"), stays...)}
	f := flows{conn: c}
	if err := f.deleteMedia(t.Context(), netip.MustParseAddr("10.88.0.5")); err != nil || !slices.Equal(c.flows, stays) {
		t.Errorf("%v, left: %+v", err, c.flows)
	}
}
