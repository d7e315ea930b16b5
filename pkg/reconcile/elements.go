package reconcile

import (
	"errors"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

const (
	// maxElementsPerEdit is the number of elements that are judged and repaired together.
	// With more, it is likelier that another program changes the ruleset meanwhile.
	maxElementsPerEdit = 64
	// maxElementAttempts is how often elements are judged again because the ruleset
	// changed.
	maxElementAttempts = 10
	// manyMissing is the number of missing elements from which the flows of all attachments
	// are searched.
	manyMissing = 4 * maxElementsPerEdit
)

// syncElements makes elements of live sets the desired state, and returns the differences.
// Its cost is proportional to the number of elements. It judges each element by the record's
// file and by the kernel's state at that time.
//
// It adds an element even if other programs change the ruleset meanwhile: if the plugin is
// removing the attachment, the change of its record causes another judgment. It removes an
// element only on proof that no record needs it, and only if the ruleset has not changed
// since that proof.
func (l *Loop) syncElements(keys []elementKey) ([]nft.Difference, error) {
	var all []nft.Difference
	for chunk := range slices.Chunk(keys, maxElementsPerEdit) {
		l.markProgress()
		changes, err := l.editElements(chunk)
		for attempt := 1; errors.Is(err, nft.ErrConflict) && attempt < maxElementAttempts; attempt++ {
			changes, err = l.editElements(chunk)
		}
		if errors.Is(err, nft.ErrConflict) { // the next sync tries again
			l.last.elements = append(l.last.elements, chunk...)
			l.RequestSync("conflict", Soon, Changes)
			continue
		}
		all = append(all, changes...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// editElements judges some elements, and repairs them in one transaction.
func (l *Loop) editElements(keys []elementKey) (changes []nft.Difference, err error) {
	generation, err := l.deps.Rules.Generation()
	if err != nil {
		return nil, err
	}
	desired := l.rereadDesired(keys)
	var add, remove []ruleset.LiveElement
	for _, k := range keys {
		d := desired[ruleset.SubjectOf(k.key)]
		observed, found, err := l.deps.Rules.Element(k.set, k.key)
		if err != nil {
			return nil, err
		}
		want, isDesired := d.ready[k]
		c := nft.Difference{Kind: nft.KindElement, Parent: k.set, Object: k.key}
		switch {
		case found && d.allows(observed), !found && !isDesired:
			continue
		case !found:
			taken, err := l.isTakenOver(k)
			if err != nil {
				return nil, err
			}
			if taken {
				continue
			}
			c.Reason, add = masq.Missing, append(add, want)
		case l.mustKeep(observed):
			continue
		case isDesired:
			c = nft.ChangedElement(observed)
			add, remove = append(add, want), append(remove, want)
		default:
			c.Reason, remove = masq.Unexpected, append(remove, observed)
		}
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return nil, nil
	}
	if len(remove) == 0 {
		generation = 0 // additions need no proof
	}
	large, err := l.deps.Rules.Edit(add, remove, generation)
	if err != nil {
		return nil, err
	}
	if large {
		l.compareAll()
	}
	return changes, nil
}

// rereadDesired reads the records of the elements' addresses and links again, and returns
// their desired elements.
func (l *Loop) rereadDesired(keys []elementKey) map[ruleset.Subject]desired {
	all := map[ruleset.Subject]desired{}
	for _, k := range keys {
		all[ruleset.SubjectOf(k.key)] = desired{}
	}
	var digests []string
	for of := range all {
		for _, r := range l.deps.Records.claimsOf(of) {
			digests = append(digests, r.Digest())
		}
	}
	l.deps.Records.reread(digests...)
	for of := range all {
		all[of] = l.desiredOf(of)
	}
	return all
}

// isTakenOver reports whether an element is missing because the plugin has given its address
// to a later attachment, whose record is pending or was not known yet. With the element, the
// rules could drop the packets of the later attachment (linked4).
func (l *Loop) isTakenOver(k elementKey) (bool, error) {
	owner, err := l.policyOwner(k.key)
	if err != nil {
		return false, err
	}
	digest, ok := masq.DigestOf(owner)
	if !ok {
		return false, nil
	}
	l.deps.Records.reread(digest)
	_, isDesired := l.desiredOf(ruleset.SubjectOf(k.key)).ready[k]
	if isDesired && l.deps.Records.stateOf(digest) != recordPending {
		return false, nil
	}
	l.keep(digest, k)
	return true, nil
}

// policyOwner returns the comment of the policy map's element for the address of a key, which
// names the attachment. It returns "" if the map has no such element, and for a key without an
// address.
func (l *Loop) policyOwner(key string) (string, error) {
	addr := ruleset.SubjectOf(key).Address
	if !addr.IsValid() {
		return "", nil
	}
	e, _, err := l.deps.Rules.Element(ruleset.PolicySet.Of(masq.FamilyOf(addr)), addr.String())
	return e.Comment, err
}

// keep has an element judged again when the record with a digest changes.
func (l *Loop) keep(digest string, k elementKey) {
	if l.last.kept == nil {
		l.last.kept = map[string][]elementKey{}
	}
	if !slices.Contains(l.last.kept[digest], k) {
		l.last.kept[digest] = append(l.last.kept[digest], k)
	}
}

// mustKeep reports whether an element that no record desires has to stay, because the
// record of its attachment is pending, cannot be read, or was not known yet.
func (l *Loop) mustKeep(e ruleset.LiveElement) bool {
	comment := e.Comment
	if comment == "" {
		var err error
		if comment, err = l.policyOwner(e.Key); err != nil {
			return true
		}
	}
	digest, ok := masq.DigestOf(comment)
	if !ok {
		return false
	}
	l.deps.Records.reread(digest)
	switch l.deps.Records.stateOf(digest) {
	case recordPending, recordUnreadable:
		l.keep(digest, elementKey{e.Set, e.Key})
		return true
	case recordReady:
		return l.desiredOf(ruleset.SubjectOf(e.Key)).allows(e)
	}
	return false
}
