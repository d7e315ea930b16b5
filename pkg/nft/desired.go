package nft

import (
	"errors"

	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// ErrConflict says that others changed the ruleset meanwhile, so that something
// could not be done or could not be judged. What was certain has been done. Try again.
var ErrConflict = errors.New("the ruleset was changed by another program meanwhile")

// ErrStructure says that the chain or the set of an element is missing: compare the
// structure first.
var ErrStructure = errors.New("a chain or a set is missing")

// Desired is what the structure of the table should be: everything but the elements of
// live sets.
type Desired struct {
	// Table is the structure. An empty one is none: the table is deleted.
	Table ruleset.Table
	// Pending is the structure that attachments need that the plugin is adding or
	// removing: it is neither missing nor unexpected.
	Pending ruleset.Table
	// AsOf is a generation of the ruleset whose attachments are all known to Table and
	// Pending. If the kernel's generation is later, objects that come and go with the
	// attachments of a policy are left unchanged.
	AsOf uint32
	// Keep leaves unexpected chains, sets and objects where they are: attachments may need
	// them whose records cannot be read.
	Keep bool
	// Unfilled has missing live sets made without elements: the caller adds them afterwards,
	// in parts. It is for nodes with so many attachments that one transaction would take
	// too much memory.
	Unfilled bool
	// Complete returns Table with all elements. It is called where a live set, or the
	// table, has to be made.
	Complete func() ruleset.Table
}

// StructureResult is what SyncStructure did.
type StructureResult struct {
	Changes []Difference
	// Large says that a transaction was so large that the Watcher missed concurrent
	// changes by other programs.
	Large bool
	// Left is the number of differences that remain because of the error.
	Left int
	// Unfilled says that live sets were made, or were to be made, without their elements.
	Unfilled bool
	// InUse says that something unexpected stayed because elements refer to it.
	InUse bool
}
