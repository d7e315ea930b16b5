package nft

import (
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Transaction is one change of the kernel's ruleset, as its notifications describe it.
type Transaction struct {
	// Generation is the number of the ruleset that the transaction made. Generations
	// are consecutive: if one is missing, its notifications were lost.
	Generation uint32
	// Own says that the Conn that made the Watcher made the transaction. Nothing else is
	// said of it.
	Own bool
	// Process is the name of the process that made it, of 15 bytes at most.
	Process string
	// Structure says that the table itself, a chain, a rule, a set or an object of it was
	// added or deleted, or elements of a set that does not hold attachments.
	Structure bool
	// Exposing says that packets may have passed untranslated because of a change of
	// Structure: all but the addition of a chain, a set or an object.
	Exposing bool
	// Published says that another program changed which ports it publishes: see
	// Conn.Published.
	Published bool
	// Elements are the elements of live sets that were added or deleted, in order. If a
	// set is deleted, the kernel does not name its elements.
	Elements []ElementEvent
	// Bulk says that there were more elements than are listed.
	Bulk bool
}

// ElementEvent says that an element was added to a live set, or deleted from it.
type ElementEvent struct {
	ruleset.LiveElement
	Deleted bool
}

// Plugin reports whether the plugin made the transaction: attachments came or went.
func (t *Transaction) Plugin() bool { return t.Process == pluginName }

// Ours reports whether the transaction changed anything of table inet masq.
func (t *Transaction) Ours() bool { return t.Structure || t.Bulk || len(t.Elements) > 0 }

// maxElementEvents is the number of elements that a Transaction lists: some dozens of
// attachments. Comparing whole sets is cheaper than asking for more of them one by one.
const maxElementEvents = 512

// take adds what one notification about the table says.
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
			t.Structure = true // a set of this name and another type is not the live one
			return nil
		}
		t.Elements = append(t.Elements, ElementEvent{
			LiveElement: x.element().in(set.Name, key),
			Deleted:     typ == unix.NFT_MSG_DELSETELEM,
		})
		return nil
	})
}
