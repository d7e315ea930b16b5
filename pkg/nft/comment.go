package nft

import (
	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Comments are kept in the user data of rules and elements, in libnftnl's own
// notation: type, length, value, with the type 0 for a comment in both.
const userdataComment = 0

// comment reads it from user data; empty where there is none.
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

// putComment is the inverse of comment. The length has to fit one byte; IDs and
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
