package nft

import (
	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Comments are part of the user data of rules and elements, which libnftnl encodes as
// type, length and value. The type of a comment is 0 in both.
const userdataComment = 0

// comment returns the comment in user data, or nil.
func comment(b []byte) []byte {
	for len(b) >= 2 {
		typ, n := b[0], int(b[1])
		if 2+n > len(b) {
			return nil
		}
		if typ == userdataComment {
			return unended(b[2 : 2+n])
		}
		b = b[2+n:]
	}
	return nil
}

// putComment appends user data with a comment. The length must fit one byte; IDs and
// identities do.
func putComment(a *netlink.Encoder, typ uint16, s string) {
	if s == "" {
		return
	}
	at := a.Begin(typ)
	*a = append(*a, userdataComment, byte(len(s)+1))
	*a = append(append(*a, s...), 0)
	a.End(at)
}
