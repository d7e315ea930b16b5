package nft

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// HelperElement is an element of the table for masqd's helpers.
type HelperElement struct {
	// Kind is RedirectMap for a port whose connections masqd handles, SpokenMap for a
	// connection of masqd to a server, OpenedMap for a port that was announced to a peer, or
	// ListenerSet for an address and port at which masqd listens.
	Kind ruleset.SetKind
	Key  ruleset.HelperKey
	// Client is the address and port that the peer reaches, in OpenedMap.
	Client netip.AddrPort
	// Identity is the attachment's, or "" for a client within sourceCIDRs.
	Identity string
}

// HelperElements returns the elements of these kinds in the kernel, or of all kinds but
// ListenerSet if none is given, sorted by kind and key. RedirectMap has elements for each
// attachment, SpokenMap and OpenedMap for each session. It returns none if the table does not
// exist: while masqd is stopped, or no attachment has a helper of masqd.
func (c *Conn) HelperElements(kinds ...ruleset.SetKind) (out []HelperElement, err error) {
	for _, kind := range []ruleset.SetKind{ruleset.ListenerSet, ruleset.RedirectMap, ruleset.SpokenMap, ruleset.OpenedMap} {
		if !slices.Contains(kinds, kind) && (len(kinds) > 0 || kind == ruleset.ListenerSet) {
			continue
		}
		for _, f := range masq.Families {
			all, err := c.helperElements(ruleset.SetName{Kind: kind, Family: f}.Set(), kind)
			if err != nil {
				return nil, explain(fmt.Errorf("read the elements of set %s of table %s: %w", kind.Of(f), ruleset.HelperTableName, err))
			}
			out = append(out, all...)
		}
	}
	return out, nil
}

func (c *Conn) helperElements(s ruleset.Set, kind ruleset.SetKind) (out []HelperElement, err error) {
	key, err := parseType(s.Type)
	if err != nil {
		return nil, err
	}
	var data keyType
	if s.Data != "" {
		if data, err = parseType(s.Data); err != nil {
			return nil, err
		}
	}
	err = c.dump(func() { out = nil }, unix.NFT_MSG_GETSETELEM, elementsIn(ruleset.HelperTableName, s.Name, nil), func(b []byte) error {
		return eachElement(b, func(x rawElement) error {
			e := HelperElement{Kind: kind, Identity: string(x.comment)}
			text, err := key.decode(x.key)
			if err != nil {
				return err
			}
			ok := false
			if e.Key, ok = ruleset.ParseHelperKey(text); !ok {
				return nil // masqd makes no such element
			}
			if data != nil {
				if text, err = data.decode(x.value); err != nil {
					return err
				}
				e.Client, _ = ruleset.ParseOpenedData(text)
			}
			out = append(out, e)
			return nil
		})
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	slices.SortFunc(out, func(a, b HelperElement) int {
		return cmp.Or(a.Key.Addr.Compare(b.Key.Addr), cmp.Compare(a.Key.Proto, b.Key.Proto), a.Key.Peer.Compare(b.Key.Peer))
	})
	return slices.CompactFunc(out, func(a, b HelperElement) bool { return a.Key == b.Key }), err // see readListing
}
