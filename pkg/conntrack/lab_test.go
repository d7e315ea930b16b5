package conntrack

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// table is the conntrack table of a namespace without links: nothing but tests
// changes it.
type table struct {
	*Conn
	t  testing.TB
	ns *nstest.NS
}

func newTable(t testing.TB) *table {
	t.Helper()
	ns := assert.Must(nstest.New(t).Namespace("table"))(t)
	return &table{openIn(t, ns), t, ns}
}

func openIn(t testing.TB, ns *nstest.NS) *Conn {
	t.Helper()
	var c *Conn
	assert.NoError(t, ns.Do(func() (err error) {
		c, err = Open()
		return err
	}))
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// entry is a flow to be made, and how its source is to be translated.
type entry struct {
	Flow
	snat netip.AddrPort
}

const (
	insertAtOnce   = 64
	insertedStatus = Confirmed | SeenReply | Assured
)

// insert makes entries as a program may (IPCTNL_MSG_CT_NEW).
func (tb *table) insert(entries ...entry) {
	tb.t.Helper()
	for part := range slices.Chunk(entries, insertAtOnce) {
		var b netlink.Batch
		for i := range part {
			e := &part[i]
			body := netlink.Encoder(assert.Must(e.AppendBinary(header(e.Original.family())))(tb.t))
			if e.snat.IsValid() {
				writeNAT(&body, e.snat)
			}
			b.Add(msgNew, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
		}
		assert.NoError(tb.t, tb.requests.Exchange(&b, func(i int, _ *netlink.Message, err error) error {
			return fmt.Errorf("insert %s: %w", part[i].Original, err)
		}))
	}
}

// flowOf is a flow that was never translated.
func flowOf(t Tuple) entry {
	e := entry{Flow: Flow{Original: t, Reply: mirror(t), Status: insertedStatus, Timeout: 600 * time.Second, Fields: HasTimeout | HasMark}}
	if t.Proto == unix.IPPROTO_TCP {
		e.State, e.Fields = TCPEstablished, e.Fields|HasState
	}
	return e
}

func mirror(t Tuple) Tuple {
	t.Src, t.Dst, t.SrcPort, t.DstPort = t.Dst, t.Src, t.DstPort, t.SrcPort
	switch {
	case t.Proto == unix.IPPROTO_ICMP && t.Type == 8:
		t.Type = 0
	case t.Proto == unix.IPPROTO_ICMPV6 && t.Type == 128:
		t.Type = 129
	}
	return t
}

func tuple(proto uint8, src, dst string) Tuple {
	a, b := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return Tuple{Proto: proto, Src: a.Addr(), Dst: b.Addr(), SrcPort: a.Port(), DstPort: b.Port()}
}

func echo(src, dst string, id uint16) Tuple {
	t := Tuple{Proto: unix.IPPROTO_ICMP, Type: 8, ID: id, Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst)}
	if t.Src.Is6() {
		t.Proto, t.Type = unix.IPPROTO_ICMPV6, 128
	}
	return t
}

// mixture is some of everything.
func mixture() []entry {
	var all []entry
	for i := range 4 {
		for p, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE, unix.IPPROTO_SCTP, unix.IPPROTO_GRE} {
			if proto == unix.IPPROTO_SCTP { // a state needs tags that Flow does not have
				proto = unix.IPPROTO_UDP
			}
			for z := range 3 {
				e := flowOf(tuple(proto, fmt.Sprintf("10.0.0.%d:%d", i, 1000+z), fmt.Sprintf("192.0.2.%d:%d", p, 80+i)))
				e.Mark = uint32(i<<8 | p)
				e.Original.Zone, e.Reply.Zone = uint16(z), uint16(z)
				if i == 0 {
					e.snat = netip.MustParseAddrPort(fmt.Sprintf("203.0.113.1:%d", 2000+i*100+p*10+z))
				}
				all = append(all, e)
				e = flowOf(tuple(proto, fmt.Sprintf("[fd00::%d]:%d", i, 1000+z), fmt.Sprintf("[2001:db8::%d]:%d", p, 80+i)))
				e.Original.Zone = uint16(z) // in one direction
				e.Mark = uint32(p)
				if i == 1 {
					e.Status &^= Assured
				}
				all = append(all, e)
			}
		}
		all = append(all, flowOf(echo(fmt.Sprintf("10.0.0.%d", i), "192.0.2.1", uint16(i+1))))
		all = append(all, flowOf(echo(fmt.Sprintf("fd00::%d", i), "2001:db8::1", uint16(i+1))))
	}
	return all
}

// collect is a dump as a map; a flow that comes twice is an error.
func (tb *table) collect(filter Filter) map[Tuple]Flow {
	tb.t.Helper()
	all := map[Tuple]Flow{}
	for f, err := range tb.Dump(tb.t.Context(), filter) {
		assert.NoError(tb.t, err)
		if _, twice := all[f.Original]; twice {
			tb.t.Errorf("%s comes twice", f.Original)
		}
		all[f.Original] = *f
	}
	return all
}

func keys(m map[Tuple]Flow) []string {
	var all []string
	for t := range maps.Keys(m) {
		all = append(all, t.String())
	}
	slices.Sort(all)
	return all
}

// kernel reports whether it is of this version or a later one.
func kernel(t testing.TB, major, minor int) bool {
	t.Helper()
	var u unix.Utsname
	assert.NoError(t, unix.Uname(&u))
	var a, b int
	assert.Must(fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b))(t)
	return a > major || a == major && b >= minor
}
