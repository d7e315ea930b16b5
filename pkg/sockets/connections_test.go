package sockets

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/netlink/netlinktest"
	"github.com/masq-cni/masq-cni/test/assert"
)

// TestConnections: connections of both families are listed from both ends with what was sent, and
// sockets that listen are not.
func TestConnections(t *testing.T) {
	n := newNode(t)
	for _, a := range []string{"127.0.0.1", "::1"} {
		l := opened(t, n.Listen, netip.AddrPortFrom(netip.MustParseAddr(a), 0))
		server := l.Addr().(*net.TCPAddr).AddrPort()
		c, err := n.Dial(t.Context(), "tcp", netip.AddrPort{}, server)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		if _, err := c.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		client := c.LocalAddr().(*net.TCPAddr).AddrPort()
		var ends []Connection
		// The kernel may deliver the data after Write has returned.
		assert.Until(t, "the data has arrived and is acknowledged", func() bool {
			ends = ends[:0]
			arrived, acked := false, false
			assert.NoError(t, n.Do(func() error {
				for x, err := range Connections() {
					if err != nil {
						return err
					}
					ends = append(ends, *x)
					arrived = arrived || x.Local == server && x.Unread > 0
					acked = acked || x.Local == client && x.BytesAcked > 1
				}
				return nil
			}))
			return arrived && acked
		})
		for _, x := range ends {
			switch {
			case x.State != Established || x.Inode == 0 || x.AdvMSS == 0 || x.SndMSS == 0 || x.PMTU == 0 || x.SegsIn == 0 || x.RTO == 0:
				t.Errorf("%+v", x)
			case x.Local == client && (x.Remote != server || x.BytesAcked != 101 || x.Unacked != 0 || x.DataSegsOut != 1):
				t.Errorf("client %+v", x)
			case x.Local == server && (x.Remote != client || x.BytesReceived != 100 || x.Unread != 100 || x.ReceiveMemory == 0 || x.DataSegsIn != 1):
				t.Errorf("server %+v", x)
			}
		}
		if len(ends) != 2 {
			t.Errorf("%d connections: %+v", len(ends), ends)
		}
		// Close the server's end first, so that no socket stays in TIME_WAIT at the client's port.
		_, _ = peer.Close(), c.Close()
	}
}

// connectionOf returns a message with these attributes.
func connectionOf(attributes ...byte) []byte {
	b := make([]byte, messageLen)
	b[0], b[1] = unix.AF_INET, uint8(Established)
	binary.BigEndian.PutUint16(b[4:], 40000)
	binary.BigEndian.PutUint16(b[6:], 443)
	copy(b[8:], []byte{10, 0, 0, 1})
	copy(b[24:], []byte{192, 0, 2, 1})
	return append(b, attributes...)
}

func infoOf(b []byte) []byte {
	var e netlink.Encoder
	e.Bytes(inetDiagMemInfo, make([]byte, memInfoLen))
	e.Bytes(inetDiagInfo, b)
	return connectionOf(e...)
}

// TestInfoOfOldKernels: a shorter struct has zero for the fields that it lacks, and a longer one
// is read too.
func TestInfoOfOldKernels(t *testing.T) {
	full := make([]byte, tcpInfoLen)
	full[2], full[4] = 5, 4
	for at := 8; at < len(full); at += 4 {
		binary.NativeEndian.PutUint32(full[at:], uint32(at))
	}
	var x, short Connection
	if err := errors.Join(x.UnmarshalBinary(infoOf(append(full, 1, 2, 3, 4))), short.UnmarshalBinary(infoOf(full[:104]))); err != nil {
		t.Fatal(err)
	}
	if x.Retransmits != 5 || x.Backoff != 4 || x.RTO != 8*time.Microsecond || x.SndMSS != 16 || x.RcvMSS != 20 || x.LastDataSent != 44*time.Millisecond ||
		x.LastAckRecv != 56*time.Millisecond || x.PMTU != 60 || x.AdvMSS != 84 || x.TotalRetrans != 100 || x.SegsIn != 140 || x.Delivered != 192 || x.RcvOOO != 224 {
		t.Errorf("%+v", x)
	}
	x.BytesAcked, x.BytesReceived, x.SegsOut, x.SegsIn, x.DataSegsIn, x.DataSegsOut, x.Delivered, x.RcvOOO = 0, 0, 0, 0, 0, 0, 0, 0
	if short != x {
		t.Errorf("short %+v\nwant  %+v", short, x)
	}
	message := infoOf(full)
	if n := testing.AllocsPerRun(100, func() { _ = x.UnmarshalBinary(message) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestConnectionsOfBadAnswers: an interrupted list is complete enough; an errno and a cut message
// are errors.
func TestConnectionsOfBadAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*netlinktest.Request)
		want   error
		found  int
	}{
		"interrupted": {func(r *netlinktest.Request) {
			r.Reply(diagByType, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, connectionOf())
			r.Done(0)
		}, nil, 1},
		"errno at the end": {func(r *netlinktest.Request) {
			r.Reply(diagByType, unix.NLM_F_MULTI, connectionOf())
			r.Done(unix.EPERM)
		}, unix.EPERM, 1},
		"cut": {func(r *netlinktest.Request) {
			r.Reply(diagByType, unix.NLM_F_MULTI, connectionOf()[:messageLen-1])
			r.Done(0)
		}, netlink.ErrMalformed, 0},
		"cut attribute": {func(r *netlinktest.Request) {
			r.Reply(diagByType, unix.NLM_F_MULTI, connectionOf(5, 0, inetDiagMemInfo, 0, 1, 0, 0, 0))
			r.Done(0)
		}, netlink.ErrMalformed, 0},
	} {
		found, failed := 0, error(nil)
		connections(netlink.NewConn(netlinktest.New(c.answer), connectionsBuffer), func(_ *Connection, err error) bool {
			if failed = err; err == nil {
				found++
			}
			return true
		})
		if !errors.Is(failed, c.want) || (failed == nil) != (c.want == nil) || found != c.found {
			t.Errorf("%s: %d found, %v", name, found, failed)
		}
	}
}

// FuzzConnection: any message is read or refused with ErrMalformed.
func FuzzConnection(f *testing.F) {
	f.Add(connectionOf())
	f.Add(infoOf(make([]byte, tcpInfoLen)))
	f.Add(infoOf(make([]byte, 104))[:messageLen+40])
	v6 := connectionOf(5, 0, 8, 0, 1, 0, 0, 0)
	v6[0] = unix.AF_INET6
	f.Add(v6)
	f.Fuzz(func(t *testing.T, b []byte) {
		var x, again Connection
		if err := x.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, netlink.ErrMalformed) {
				t.Errorf("not ErrMalformed: %v", err)
			}
			return
		}
		if !x.Local.IsValid() || !x.Remote.IsValid() || x.State.String() == "" {
			t.Errorf("%+v", x)
		}
		if err := again.UnmarshalBinary(b); err != nil || again != x {
			t.Errorf("%+v, then %+v, %v", x, again, err)
		}
		_, _ = parse(b, unix.IPPROTO_TCP)
	})
}
