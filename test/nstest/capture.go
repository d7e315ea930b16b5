package nstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// snapLength is how much of a packet a Capture keeps.
	snapLength = 2048
	// captureBuffer is the size of the buffer for packets that were not read yet, in bytes.
	captureBuffer = 8 << 20
)

// Capture records the IP packets of one interface. It keeps the first 16384 packets that pass
// its filter. Lost counts packets that it could not keep.
type Capture struct {
	seen   record[Packet]
	filter func(Packet) bool
	file   *os.File
	raw    syscall.RawConn
	ended  chan struct{}

	mu    sync.Mutex // held while the socket is read
	buf   []byte
	err   error
	drops int // packets that the kernel dropped because the buffer was full
}

// Capture starts to record the packets of an interface, in both directions. It misses no
// packet after its return. The filter may be nil; it must not use the Capture.
//
// A packet that a host sends over a veth may have an incomplete checksum, because the sender
// leaves it to the device.
func (n *NS) Capture(iface string, filter func(Packet) bool) (*Capture, error) {
	if filter == nil {
		filter = func(Packet) bool { return true }
	}
	c := &Capture{filter: filter, ended: make(chan struct{}), buf: make([]byte, snapLength)}
	err := n.Do(func() error { return c.open(iface) })
	if err != nil {
		return nil, fmt.Errorf("capture on %s:%s: %w", n.Name(), iface, err)
	}
	go c.run()
	return c, n.own(c)
}

func (c *Capture) open(iface string) error {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return err
	}
	// Protocol 0 receives nothing until bind says which interface.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.file = os.NewFile(uintptr(fd), "capture "+iface)
	c.raw, err = c.file.SyscallConn()
	err = errors.Join(err,
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: link.Index}))
	if err != nil {
		return errors.Join(err, c.file.Close())
	}
	return nil
}

func (c *Capture) run() {
	defer close(c.ended)
	// Returning false waits until there is more to read; Close ends that with an error.
	_ = c.raw.Read(func(fd uintptr) bool { return !c.drain(int(fd)) })
}

// drain reads the packets that have arrived. It returns false if the socket has failed.
func (c *Capture) drain(fd int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil {
		size, from, err := unix.Recvfrom(fd, c.buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return true
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN): // the interface may come up again
			continue
		case err != nil:
			c.err = err
			return false
		}
		p, err := Decode(c.buf[:size])
		if err != nil {
			continue // not IP, such as ARP
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		p.Time, p.Outgoing = time.Now(), ok && link.Pkttype == unix.PACKET_OUTGOING
		if c.filter(p) {
			p.Payload = slices.Clone(p.Payload)
			c.seen.add(p)
		}
	}
	return false
}

// Packets returns the recorded packets in order, including packets that have arrived at the
// interface but were not read yet.
func (c *Capture) Packets() []Packet {
	// An error means that the capture is closed, so no more packets arrive.
	_ = c.raw.Control(func(fd uintptr) { c.drain(int(fd)) })
	return c.seen.all()
}

// Wait returns the packets seen as soon as enough returns true for them. When the
// context ends first, it returns the packets so far and an error.
func (c *Capture) Wait(ctx context.Context, enough func([]Packet) bool) ([]Packet, error) {
	return c.seen.wait(ctx, enough)
}

// WaitFor waits for a packet and returns the first that matches.
func (c *Capture) WaitFor(ctx context.Context, match func(Packet) bool) (Packet, error) {
	i := -1
	all, err := c.seen.wait(ctx, func(all []Packet) bool {
		i = slices.IndexFunc(all, match)
		return i >= 0
	})
	if err != nil {
		return Packet{}, err
	}
	return all[i], nil
}

// Lost returns the number of packets that were not kept, or not read because the buffer was
// full. If it is not 0, the absence of a packet proves nothing.
func (c *Capture) Lost() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.raw.Control(func(fd uintptr) {
		// The kernel resets the count at each read.
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			c.drops += int(s.Drops)
		}
	})
	return c.drops + c.seen.overflow()
}

// Close ends the capture; what was seen stays.
func (c *Capture) Close() error {
	err := c.file.Close()
	<-c.ended
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
