package netlink

import (
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"
)

// Dump requests all objects of a kind. It yields each answer in the same *Message, which
// is valid until the next one. It allocates nothing for an answer, and holds at most one
// part of the dump in memory.
//
// An error is the last value and comes without a message. It means that the dump is not
// complete. ErrInterrupted comes after all answers; reading again may succeed.
//
// If the loop ends early, the rest of the dump stays in the kernel, and the next request
// discards it.
func (c *Conn) Dump(typ, flags uint16, body ...[]byte) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		more, err := c.dump(typ, flags, body, yield)
		if more && err != nil {
			yield(nil, err)
		}
	}
}

// dump returns more false if yield returned false.
func (c *Conn) dump(typ, flags uint16, body [][]byte, yield func(*Message, error) bool) (more bool, err error) {
	if err := c.request(typ, flags|unix.NLM_F_DUMP, body); err != nil {
		return true, err
	}
	c.pending = true
	interrupted := false
	for {
		b, err := c.receive()
		if err != nil {
			return true, err
		}
		for len(b) > 0 {
			if b, err = c.message.cut(b); err != nil {
				return true, err
			}
			if c.message.Seq != c.seq {
				continue
			}
			interrupted = interrupted || c.message.Flags&unix.NLM_F_DUMP_INTR != 0
			switch c.message.Type {
			case unix.NLMSG_ERROR, unix.NLMSG_DONE:
				c.pending = false
				err := c.message.err()
				if err == nil && interrupted {
					err = ErrInterrupted
				}
				return true, err
			}
			if !yield(&c.message, nil) {
				return false, nil
			}
		}
	}
}

// prepare discards the rest of a dump that was not read to its end. A socket with such a
// dump refuses another dump (EBUSY), and the kernel ends it only when the socket is
// closed. A new socket replaces it if the thread is in the socket's namespace; otherwise
// the rest is read.
func (c *Conn) prepare() error {
	if !c.pending {
		return nil
	}
	if s, ok := c.transport.(*socket); ok {
		replaced, err := s.replace()
		if err != nil {
			return fmt.Errorf("end an earlier dump: %w", err)
		}
		if replaced {
			c.pending = false
			return nil
		}
	}
	for {
		_, err := c.receive()
		switch {
		case errors.Is(err, ErrNoAnswer):
			c.pending = false
			return nil
		case err != nil && !errors.Is(err, ErrOverrun): // its end is lost too
			return fmt.Errorf("end an earlier dump: %w", err)
		}
	}
}
