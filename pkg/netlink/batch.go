package netlink

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// Batch holds requests that are sent in one system call. The zero value is empty.
type Batch struct {
	b     []byte
	count int
	last  int // offset of the last message
	acked int // number of the message that requests the acknowledgement, from 1
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() { *b = Batch{b: b.b[:0]} }

// Grow makes room for n more bytes.
func (b *Batch) Grow(n int) { b.b = slices.Grow(b.b, n) }

// Len returns the number of messages.
func (b *Batch) Len() int { return b.count }

// Size returns the number of bytes.
func (b *Batch) Size() int { return len(b.b) }

// Add appends a request with NLM_F_REQUEST and these flags. Its body is the concatenation
// of the parts: the fixed header of the protocol, and attributes.
func (b *Batch) Add(typ, flags uint16, body ...[]byte) {
	b.last = len(b.b)
	b.b = appendMessage(b.b, typ, flags, 0, body)
	b.count++
}

// Acknowledge requests the acknowledgement for the message that was added last. Without
// it, the last message of the batch requests it.
func (b *Batch) Acknowledge() {
	b.acked = b.count
	flags := b.b[b.last+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
}

// number gives the messages consecutive sequence numbers from first.
func (b *Batch) number(first uint32) {
	for at := 0; at < len(b.b); first++ {
		binary.NativeEndian.PutUint32(b.b[at+8:], first)
		at += align(int(binary.NativeEndian.Uint32(b.b[at:])))
	}
}

func appendMessage(b []byte, typ, flags uint16, seq uint32, body [][]byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0)
	for _, part := range body {
		b = append(b, part...)
	}
	binary.NativeEndian.PutUint32(b[at:], uint32(len(b)-at))
	return pad(b, at)
}

// Exchange sends the batch and calls f with each answer. i is the index of the request in
// the batch, and err the errno of a request that failed. The acknowledgement is not passed
// to f. If f returns an error, Exchange returns it and discards the other answers.
//
// The kernel processes all messages before the system call returns, also after one failed,
// and a signal does not stop it: a killed process has sent the whole batch or nothing. The
// kernel reports the errors of all messages, and acknowledges the one message that
// requests it. An acknowledgement for each message would take four times as long.
//
// Without the acknowledgement, Exchange returns ErrNoAnswer, or ErrOverrun if answers were
// lost.
func (c *Conn) Exchange(b *Batch, f func(i int, m *Message, err error) error) error {
	if b.count == 0 {
		return nil
	}
	if b.acked == 0 {
		b.Acknowledge()
	}
	if err := c.prepare(); err != nil {
		return err
	}
	first := c.seq + 1
	c.seq += uint32(b.count)
	b.number(first)
	if err := c.transport.Send(b.b); err != nil {
		return err
	}
	for {
		datagram, err := c.receive()
		if err != nil {
			return err
		}
		for len(datagram) > 0 {
			if datagram, err = c.message.cut(datagram); err != nil {
				return err
			}
			i := c.message.Seq - first
			if i >= uint32(b.count) {
				continue // a late answer to an earlier request
			}
			if c.message.Type != unix.NLMSG_ERROR {
				if err := f(int(i), &c.message, nil); err != nil {
					return err
				}
				continue
			}
			if err := c.message.err(); err != nil {
				if err := f(int(i), nil, err); err != nil {
					return err
				}
			}
			if int(i) == b.acked-1 {
				return nil
			}
		}
	}
}
