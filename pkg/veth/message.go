package veth

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// message is one request to the kernel, and its result.
type message struct {
	typ, flags      uint16
	netlink.Encoder // the request's header and attributes
	// what says what the request does, for error messages.
	what string
	// allow is an error that counts as success; 0 for none.
	allow unix.Errno

	reply []byte // the answer, without its netlink header; nil if there was none
	err   error  // errno, with the kernel's text if it sent one
}

func newMessage[H header](typ, flags uint16, what string, h H) *message {
	return &message{typ: typ, flags: flags, what: what, Encoder: encodeHeader(h)}
}

// addr appends an attribute that is an address.
func (m *message) addr(typ uint16, a netip.Addr) { m.Bytes(typ, a.AsSlice()) }

// failed returns the error of the message together with what the message does, or nil.
func (m *message) failed() error {
	if m.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", m.what, m.err)
}

// firstFailed returns the error of the first message that has one.
func firstFailed(ms []*message) error {
	for _, m := range ms {
		if m.err != nil {
			return m.failed()
		}
	}
	return nil
}
