package conntrack

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// ErrMalformed means that a netlink message is malformed.
var ErrMalformed = netlink.ErrMalformed

// nfgenmsgLen is the size of struct nfgenmsg, the header of each message.
const nfgenmsgLen = 4

// header returns the struct nfgenmsg of a request.
func header(family uint8) []byte { return []byte{family, unix.NFNETLINK_V0, 0, 0} }

// attributes returns the attributes of a message of ctnetlink.
func attributes(m *netlink.Message) []byte { return netlink.After(m.Body, nfgenmsgLen) }

// resource returns the resource ID of a message of ctnetlink.
func resource(m *netlink.Message) uint16 {
	if len(m.Body) < nfgenmsgLen {
		return 0
	}
	return binary.BigEndian.Uint16(m.Body[2:])
}

// readNested calls read with each attribute of a list within an attribute. It returns
// false if the list is malformed or read returns false. Tuples and the state of TCP are
// decoded by loops without a function call for each attribute, since dumps spend most of
// their time there.
func readNested(b []byte, read func(typ uint16, value []byte) bool) bool {
	a := netlink.Attributes{Rest: b}
	for a.Next() {
		if !read(a.Type, a.Data) {
			return false
		}
	}
	return a.Complete()
}

// Attributes are in network byte order. Each of the following functions returns false if
// the attribute does not have the length of its type.

func read8(b []byte, v *uint8) bool {
	if len(b) != 1 {
		return false
	}
	*v = b[0]
	return true
}

func read16(b []byte, v *uint16) bool {
	if len(b) != 2 {
		return false
	}
	*v = binary.BigEndian.Uint16(b)
	return true
}

func read32(b []byte, v *uint32) bool {
	if len(b) != 4 {
		return false
	}
	*v = binary.BigEndian.Uint32(b)
	return true
}

func read64(b []byte, v *uint64) bool {
	if len(b) != 8 {
		return false
	}
	*v = binary.BigEndian.Uint64(b)
	return true
}
