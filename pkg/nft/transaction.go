package nft

import (
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Transaction is one change of the kernel's ruleset, as its notifications describe it.
type Transaction struct {
	// Generation is the generation of the ruleset after the transaction. Generations are
	// consecutive: if one is missing, its notifications were lost.
	Generation uint32
	// Own says that the Conn of the Watcher made the transaction. Then the fields below
	// are not set.
	Own bool
	// Process is the name of the process that made the transaction, at most 15 bytes.
	Process string
	// Structure says that the table, a chain, a rule, a set, an object, or elements of a
	// set without attachments were added or deleted.
	Structure bool
	// Exposing says that packets may have passed untranslated because of a change of
	// Structure. It is true for every change except the addition of a chain, a set or an
	// object.
	Exposing bool
	// Published says that another program changed the ports that it publishes: see
	// Conn.Published.
	Published bool
	// Elements are the elements of live sets that were added or deleted, in order. The
	// kernel does not list the elements of a deleted set.
	Elements []ElementEvent
	// Bulk says that there were too many elements to list.
	Bulk bool
}

// ElementEvent is the addition of an element to a live set, or its deletion.
type ElementEvent struct {
	ruleset.LiveElement
	Deleted bool
}

// Plugin reports whether the plugin made the transaction, to add or remove attachments.
func (t *Transaction) Plugin() bool { return t.Process == pluginName }

// Ours reports whether the transaction changed table inet masq.
func (t *Transaction) Ours() bool { return t.Structure || t.Bulk || len(t.Elements) > 0 }

// maxElementEvents is the number of elements that a Transaction lists: some dozens of
// attachments. Above it, comparing whole sets is cheaper than reading each element.
const maxElementEvents = 512

// take adds one notification about the table to the transaction.
func (t *Transaction) take(typ uint16, b []byte) error {
	if typ != unix.NFT_MSG_NEWSETELEM && typ != unix.NFT_MSG_DELSETELEM {
		t.Structure = true
		switch typ {
		case unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_NEWSET, unix.NFT_MSG_NEWOBJ:
		default:
			t.Exposing = true
		}
		return nil
	}
	name, err := inside(b, unix.NFTA_SET_ELEM_LIST_SET)
	if err != nil {
		return err
	}
	set, live := ruleset.LiveSet(netlink.Text(name))
	if !live {
		t.Structure, t.Exposing = true, true
		return nil
	}
	kt, err := parseType(set.Type)
	if err != nil {
		return err
	}
	return eachElement(b, func(x rawElement) error {
		if len(t.Elements) >= maxElementEvents {
			t.Bulk, t.Elements = true, nil
		}
		if t.Bulk {
			return nil
		}
		key, err := kt.decode(x.key)
		if err != nil {
			t.Structure = true // the set has the name of a live set, but another type
			return nil
		}
		t.Elements = append(t.Elements, ElementEvent{
			LiveElement: x.element().in(set.Name, key),
			Deleted:     typ == unix.NFT_MSG_DELSETELEM,
		})
		return nil
	})
}
