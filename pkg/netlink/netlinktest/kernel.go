// Package netlinktest scripts the kernel's side of a netlink socket.
//
//	k := netlinktest.New(func(r *netlinktest.Request) {
//		r.Reply(typ, unix.NLM_F_DUMP_INTR, body)
//		r.Done(0)
//	})
//	c := netlink.NewConn(k, netlink.DumpBuffer)
package netlinktest

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Kernel is a netlink.Transport. It calls a function for each request and queues the
// answers that the function gives.
type Kernel struct {
	answer   func(*Request)
	queue    []reply
	requests int
}

// reply is one datagram, or the error of a read.
type reply struct {
	datagram []byte
	err      error
}

// New returns a Kernel that calls answer for each request.
func New(answer func(*Request)) *Kernel { return &Kernel{answer: answer} }

// Requests returns the number of requests that were sent.
func (k *Kernel) Requests() int { return k.requests }

// Send answers each request of a datagram.
func (k *Kernel) Send(b []byte) error {
	for len(b) >= unix.NLMSG_HDRLEN {
		n := int(binary.NativeEndian.Uint32(b))
		k.requests++
		k.answer(&Request{
			Number: k.requests,
			Type:   binary.NativeEndian.Uint16(b[4:]),
			Flags:  binary.NativeEndian.Uint16(b[6:]),
			Seq:    binary.NativeEndian.Uint32(b[8:]),
			Body:   append([]byte(nil), b[unix.NLMSG_HDRLEN:n]...),
			kernel: k,
		})
		b = b[min(len(b), (n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return nil
}

// Receive returns the next answer, or unix.EAGAIN.
func (k *Kernel) Receive(b []byte) (int, error) {
	if len(k.queue) == 0 {
		return 0, unix.EAGAIN
	}
	r := k.queue[0]
	k.queue = k.queue[1:]
	copy(b, r.datagram)
	return len(r.datagram), r.err
}

// Close does nothing.
func (k *Kernel) Close() error { return nil }

// Request is one request to be answered.
type Request struct {
	Number      int // position among all requests, from 1
	Type, Flags uint16
	Seq         uint32
	Body        []byte
	kernel      *Kernel
}

// Reply queues a datagram of one message.
func (r *Request) Reply(typ, flags uint16, body []byte) { r.Datagram(r.Message(typ, flags, body)) }

// Errno queues an NLMSG_ERROR; 0 is an acknowledgement.
func (r *Request) Errno(errno unix.Errno) { r.Datagram(r.Message(unix.NLMSG_ERROR, 0, Code(errno))) }

// Done queues the end of a dump, with an errno or 0.
func (r *Request) Done(errno unix.Errno) {
	r.Datagram(r.Message(unix.NLMSG_DONE, unix.NLM_F_MULTI, Code(errno)))
}

// Fail makes a read return an error, after the queued answers.
func (r *Request) Fail(err error) { r.kernel.queue = append(r.kernel.queue, reply{err: err}) }

// Datagram queues one datagram of raw bytes.
func (r *Request) Datagram(messages ...[]byte) {
	var all []byte
	for _, m := range messages {
		all = append(all, m...)
	}
	r.kernel.queue = append(r.kernel.queue, reply{datagram: all})
}

// Message returns a message that answers the request.
func (r *Request) Message(typ, flags uint16, body []byte) []byte {
	return Message(typ, flags, r.Seq, body)
}

// Message returns a message with a sequence number.
func Message(typ, flags uint16, seq uint32, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(append(b, 0, 0, 0, 0), body...)
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// Code returns the body of an NLMSG_ERROR or NLMSG_DONE that is only an errno.
func Code(errno unix.Errno) []byte {
	return binary.NativeEndian.AppendUint32(nil, -uint32(errno))
}
