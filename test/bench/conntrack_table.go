package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// tracked is the number of flows in the table.
const tracked = 1_000_000

// trackedNode is a node with records of attachments and a table full of their flows.
type trackedNode struct {
	*node
	owners *report.Owners
	conn   *conntrack.Conn
	raw    int // a netlink socket
	buf    []byte
}

// reader reads the whole table.
type reader struct {
	name string
	read func(context.Context) error
}

// track makes a node whose table has this number of flows.
func (b *bench) track(name string, flows int) (_ *trackedNode, err error) {
	b.progress("making %d flows", flows)
	n, err := b.site.node(name)
	if err != nil {
		return nil, err
	}
	t := &trackedNode{node: n, raw: -1, buf: make([]byte, 32<<10)}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if err := errors.Join(os.MkdirAll(n.dir, 0o700), n.populate(level2)); err != nil {
		return nil, err
	}
	err = t.Do(func() (err error) {
		if t.owners, err = ownersIn(t.state()); err != nil {
			return err
		}
		if t.conn, err = conntrack.Open(); err != nil {
			return err
		}
		t.raw, err = ctnetlink()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := t.fill(flows); err != nil {
		return nil, err
	}
	x, err := t.conn.Table()
	if err == nil && int(x.Entries) != flows {
		err = fmt.Errorf("the table has %d flows, not %d", x.Entries, flows)
	}
	return t, err
}

func ownersIn(dir string) (*report.Owners, error) {
	records, err := store.Open(dir)
	if err != nil {
		return nil, err
	}
	all, err := records.All()
	return report.OwnersOf(all), err
}

// close deletes the flows, because their memory counts for the whole machine.
func (t *trackedNode) close() error {
	errs := []error{t.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })}
	if t.conn != nil {
		errs = append(errs, t.conn.Close())
	}
	if t.raw >= 0 {
		errs = append(errs, unix.Close(t.raw))
	}
	return errors.Join(errs...)
}

func (t *trackedNode) fill(flows int) error {
	return createFlows(t.raw, flows, func(i int) netip.Addr { return sourceNumber(i % level2) })
}

// createFlows creates flows of these sources by a netlink socket.
func createFlows(socket, flows int, source func(i int) netip.Addr) error {
	var batch []byte
	for i := range flows {
		f, egress := flowNumber(i)
		f.Original.Src, f.Reply.Dst = source(i), source(i)
		batch = appendNew(batch, &f, egress)
		if i%64 < 63 && i < flows-1 {
			continue
		}
		if err := tell(socket, batch); err != nil {
			return fmt.Errorf("create flow %d: %w", i, err)
		}
		batch = batch[:0]
	}
	return nil
}

var protocols = map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}

// flowNumber returns one flow of the table, and its translated source.
func flowNumber(i int) (f conntrack.Flow, egress netip.AddrPort) {
	o := conntrack.Tuple{
		Proto: unix.IPPROTO_TCP, Src: sourceNumber(i % level2), SrcPort: uint16(1024 + i/level2),
		Dst: netip.AddrFrom4([4]byte{198, 18, byte(i >> 16), byte(i >> 8)}), DstPort: 443,
	}
	f = conntrack.Flow{Status: conntrack.Confirmed | conntrack.SeenReply | conntrack.Assured, Timeout: time.Hour, Fields: conntrack.HasTimeout}
	if i%3 == 0 {
		o.Proto = unix.IPPROTO_UDP
	} else {
		f.State, f.Fields = conntrack.TCPEstablished, f.Fields|conntrack.HasState
	}
	f.Original, f.Reply = o, o
	f.Reply.Src, f.Reply.Dst, f.Reply.SrcPort, f.Reply.DstPort = o.Dst, o.Src, o.DstPort, o.SrcPort
	return f, netip.AddrPortFrom(far4.Next(), uint16(1024+i%60_000))
}

// sourceNumber returns the address of one of the attachments that populate records.
func sourceNumber(i int) netip.Addr {
	i += 2
	return netip.AddrFrom4([4]byte{10, 64, byte(i >> 8), byte(i)})
}

// Types of messages, from linux/netfilter/nfnetlink_conntrack.h.
const (
	ctNew    = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctGet    = ctNew + 1
	ctDelete = ctNew + 2
)

// ctnetlink opens a socket in the thread's namespace.
func ctnetlink() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	return fd, os.NewSyscallError("socket", err)
}

// tell sends messages that the kernel answers only if they fail.
func tell(fd int, messages []byte) error {
	if _, err := unix.Write(fd, messages); err != nil {
		return os.NewSyscallError("write", err)
	}
	var answer [256]byte
	n, err := unix.Read(fd, answer[:])
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil
	case err != nil:
		return os.NewSyscallError("read", err)
	case n < unix.NLMSG_HDRLEN+4:
		return fmt.Errorf("the kernel answers with %d bytes", n)
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])))
}

// seal completes the message that begins at offset at.
func seal(b []byte, at int, typ, flags uint16) []byte {
	binary.NativeEndian.PutUint32(b[at:], uint32(len(b)-at))
	binary.NativeEndian.PutUint16(b[at+4:], typ)
	binary.NativeEndian.PutUint16(b[at+6:], unix.NLM_F_REQUEST|flags)
	return b
}

// begin appends the headers of a message.
func begin(b []byte) []byte {
	b = append(b, make([]byte, unix.NLMSG_HDRLEN)...)
	return append(b, unix.AF_INET, unix.NFNETLINK_V0, 0, 0)
}

// appendNew appends the message that creates a flow.
func appendNew(b []byte, f *conntrack.Flow, egress netip.AddrPort) []byte {
	at := len(b)
	b, _ = f.AppendBinary(begin(b)) // never fails
	return seal(appendSNAT(b, egress), at, ctNew, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
}

// appendSNAT appends CTA_NAT_SRC with one address and one port.
func appendSNAT(b []byte, to netip.AddrPort) []byte {
	attr := func(size, typ uint16) {
		b = binary.NativeEndian.AppendUint16(b, size)
		b = binary.NativeEndian.AppendUint16(b, typ)
	}
	addr := to.Addr().As4()
	attr(40, unix.NLA_F_NESTED|6) // CTA_NAT_SRC
	for _, typ := range []uint16{1, 2} {
		attr(8, typ) // CTA_NAT_V4_MINIP, CTA_NAT_V4_MAXIP
		b = append(b, addr[:]...)
	}
	attr(20, unix.NLA_F_NESTED|3) // CTA_NAT_PROTO
	for _, typ := range []uint16{1, 2} {
		attr(6, typ) // CTA_PROTONAT_PORT_MIN, CTA_PROTONAT_PORT_MAX
		b = append(b, byte(to.Port()>>8), byte(to.Port()), 0, 0)
	}
	return b
}

// program runs conntrack.
func (t *trackedNode) program(ctx context.Context) error {
	cmd := t.Command(ctx, "conntrack", "-L")
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	if err == nil && !bytes.Contains(said.Bytes(), fmt.Appendf(nil, " %d flow entries", tracked)) {
		err = errors.New("it has not shown all flows")
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, said.Bytes())
	}
	return nil
}

func (t *trackedNode) list(context.Context) error { return t.Do(listAll) }

// listAll reads the table of the thread's namespace with vishvananda/netlink.
func listAll() error {
	all, err := netlink.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4)
	return errors.Join(err, complete(len(all)))
}

func complete(flows int) error {
	if flows != tracked {
		return fmt.Errorf("%d flows of %d", flows, tracked)
	}
	return nil
}

// discard requests a dump and reads it without parsing. The kernel builds each part when the
// previous one is read, so the dump is complete when no message is left.
func (t *trackedNode) discard(context.Context) error {
	if _, err := unix.Write(t.raw, seal(begin(nil), 0, ctGet, unix.NLM_F_DUMP)); err != nil {
		return err
	}
	for total := 0; ; {
		n, err := unix.Read(t.raw, t.buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) && total > 100*tracked:
			return nil
		case err != nil:
			return fmt.Errorf("after %d bytes: %w", total, err)
		}
		total += max(n, 0)
	}
}

func (t *trackedNode) summary(ctx context.Context) error {
	tally := report.NewTally(t.owners)
	if err := sum(ctx, t.conn, conntrack.Filter{}, tally); err != nil {
		return err
	}
	return allThere(tally)
}

// sum tallies the flows that the kernel returns.
func sum(ctx context.Context, c *conntrack.Conn, filter conntrack.Filter, tally *report.Tally) error {
	for f, err := range c.Dump(ctx, filter) {
		if err != nil {
			return err
		}
		tally.Add(f)
	}
	return nil
}

// allThere checks that each attachment has all its flows, all of them translated.
func allThere(tally *report.Tally) error {
	if err := complete(tally.Translated); err != nil {
		return err
	}
	for i, c := range tally.ByOwner {
		if c.Flows != tracked/level2 {
			return fmt.Errorf("attachment %d has %d flows of %d", i, c.Flows, tracked/level2)
		}
	}
	return nil
}

// ofOne reads the flows of one attachment, filtered by the kernel.
func (t *trackedNode) ofOne(ctx context.Context) error {
	n := 0
	for _, err := range t.conn.Dump(ctx, conntrack.Filter{Original: conntrack.Tuple{Src: sourceNumber(level2 / 2)}}) {
		if err != nil {
			return err
		}
		n++
	}
	if n != tracked/level2 {
		return fmt.Errorf("%d flows of %d", n, tracked/level2)
	}
	return nil
}
