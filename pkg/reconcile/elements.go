package reconcile

import (
	"errors"
	"fmt"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

const (
	// elementsAtOnce is the number of elements that are judged and repaired together.
	// The more there are, the likelier it is that another program changes the ruleset
	// meanwhile.
	elementsAtOnce = 64
	// elementAttempts limits how often elements are judged again because the ruleset
	// changed.
	elementAttempts = 10
	// manyMissing is the number of missing elements from which flows of all attachments are
	// looked for.
	manyMissing = 4 * elementsAtOnce
)

// syncElements makes elements of live sets what the records desire, and returns the
// differences. Its cost follows the number of elements. Each element is judged by the
// record's current file and by the kernel's current state.
//
// An element is added whatever other programs do meanwhile. If the plugin is removing
// the attachment, the change of its record causes the element to be judged once more.
// An element is removed only on proof that no record needs it, and only if the ruleset
// has not changed since that proof.
func (l *Loop) syncElements(keys []elementKey) (all []nft.Difference, err error) {
	for chunk := range slices.Chunk(keys, elementsAtOnce) {
		l.advance()
		done := false
		for range elementAttempts {
			var changes []nft.Difference
			changes, err = l.syncSome(chunk)
			if done = !errors.Is(err, nft.ErrConflict); done {
				all = append(all, changes...)
				break
			}
		}
		if !done {
			// Other programs keep changing the ruleset: continue with the next
			// elements.
			l.last.elements = append(l.last.elements, chunk...)
			l.RequestSync("conflict", Soon, Changes)
			err = nil
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// syncSome judges some elements, and repairs them in one transaction.
func (l *Loop) syncSome(keys []elementKey) (changes []nft.Difference, err error) {
	generation, err := l.Rules.Generation()
	if err != nil {
		return nil, err
	}
	known := map[ruleset.Subject]desired{}
	for _, k := range keys {
		known[ruleset.SubjectOf(k.key)] = desired{}
	}
	l.reread(known)
	var add, remove []ruleset.LiveElement
	for _, k := range keys {
		d := known[ruleset.SubjectOf(k.key)]
		is, found, err := l.Rules.Element(k.set, k.key)
		if err != nil {
			return nil, err
		}
		want, wanted := d.ready[k]
		c := nft.Difference{Kind: nft.KindElement, Parent: k.set, Object: k.key}
		switch {
		case found && d.allows(is), !found && !wanted:
			continue
		case !found:
			c.Reason, add = masq.Missing, append(add, want)
		case l.spares(is):
			continue
		case wanted:
			c.Reason, c.Detail = masq.Changed, fmt.Sprintf("goes to %q as %q", is.Goto, is.Comment)
			add, remove = append(add, want), append(remove, want)
		default:
			c.Reason, remove = masq.Unexpected, append(remove, is)
		}
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return nil, nil
	}
	if len(remove) == 0 {
		generation = 0
	}
	large, err := l.Rules.Edit(add, remove, generation)
	if err != nil {
		return nil, err
	}
	if large {
		l.compareAll()
	}
	return changes, nil
}

// reread reads the records that have these addresses and links again, and fills in what
// they desire.
func (l *Loop) reread(known map[ruleset.Subject]desired) {
	var digests []string
	for of := range known {
		for _, r := range l.Records.Claims(of) {
			digests = append(digests, r.Digest())
		}
	}
	l.Records.Reread(digests...)
	for of := range known {
		known[of] = l.desiredOf(of)
	}
}

// spares reports whether an element that no record desires has to stay: its attachment
// has a record that says that the plugin is at work, or that cannot be read, or that
// was not known.
func (l *Loop) spares(e ruleset.LiveElement) bool {
	comment := e.Comment
	if comment == "" {
		// The owner of the address is the one that the policy map names.
		addr := ruleset.SubjectOf(e.Key).Address
		if !addr.IsValid() {
			return false
		}
		of, found, err := l.Rules.Element(ruleset.PolicySet.Of(masq.FamilyOf(addr)), addr.String())
		if err != nil {
			return true
		}
		if !found {
			return false
		}
		comment = of.Comment
	}
	digest, ok := masq.DigestOf(comment)
	if !ok {
		return false
	}
	l.Records.Reread(digest)
	switch l.Records.Owner(digest) {
	case Pending, Unreadable:
		if l.last.spared == nil {
			l.last.spared = map[string][]elementKey{}
		}
		l.last.spared[digest] = append(l.last.spared[digest], elementKey{e.Set, e.Key})
		return true
	case Owned:
		return l.desiredOf(ruleset.SubjectOf(e.Key)).allows(e) // it was not known before
	}
	return false
}
