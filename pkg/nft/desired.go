package nft

import (
	"errors"

	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// ErrConflict means that another program changed the ruleset meanwhile, so that a change
// was not made or a difference could not be confirmed. Repairs that do not depend on
// attachments have been made. Try again.
var ErrConflict = errors.New("another program changed the ruleset meanwhile")

// ErrStructure means that the chain or the set of an element is missing: compare the
// structure first.
var ErrStructure = errors.New("a chain or a set is missing")

// Desired is the desired structure of the table: everything but the elements of live sets.
type Desired struct {
	// Table is the structure. If it is empty, the table is deleted.
	Table ruleset.Table
	// Pending is the structure for attachments that the plugin is adding or removing: it
	// is neither missing nor unexpected.
	Pending ruleset.Table
	// AsOf is a generation of the ruleset whose attachments are all in Table and Pending.
	// If the kernel's generation is later, objects that depend on policies are not
	// changed.
	AsOf uint32
	// Keep keeps unexpected chains, sets and objects: attachments whose records cannot be
	// read may need them.
	Keep bool
	// Unfilled makes missing live sets without elements, which the caller then adds in
	// parts. It is for nodes with so many attachments that one transaction would take too
	// much memory.
	Unfilled bool
	// Complete returns Table with all elements. It is called if a live set or the table
	// has to be made.
	Complete func() ruleset.Table
}

// StructureResult is the result of SyncStructure.
type StructureResult struct {
	Changes []Difference
	// Large says that a transaction was so large that the Watcher missed concurrent
	// changes by other programs.
	Large bool
	// Left is the number of differences that remain because of the error.
	Left int
	// Unfilled says that live sets were made without their elements, or should have been.
	Unfilled bool
	// InUse says that an unexpected object was kept because elements refer to it.
	InUse bool
}
