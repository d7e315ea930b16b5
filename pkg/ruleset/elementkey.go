package ruleset

import (
	"net/netip"
	"strconv"
	"strings"
)

// The keys of elements, in nft's notation. A link is the quoted name of an interface.

func sourceKey(link string, a netip.Addr) string { return link + " . " + a.String() }

func helperKey(a netip.Addr, port uint16) string { return a.String() + " . " + strconv.Itoa(int(port)) }

// Subject is the object that an element of a live set is about: an address of an
// attachment or, if Address is invalid, the host's end of its link.
type Subject struct {
	Address netip.Addr
	Link    string
}

// SubjectOf returns the subject of the element that has a key.
func SubjectOf(key string) Subject {
	for part := range strings.SplitSeq(key, " . ") {
		if a, err := netip.ParseAddr(part); err == nil {
			return Subject{Address: a}
		}
	}
	link, err := strconv.Unquote(key)
	if err != nil {
		return Subject{}
	}
	return Subject{Link: link}
}
