package nft

// removedElements has the elements that a transaction removes, by set and key. For verdict
// maps the value is the chain that the element leads to.
type removedElements map[string]map[string]string

func (r removedElements) add(set, key, chain string) {
	if r[set] == nil {
		r[set] = map[string]string{}
	}
	r[set][key] = chain
}

// references returns how many of the removed elements lead to each chain.
func references(removed removedElements) map[string]int {
	refs := map[string]int{}
	for _, keys := range removed {
		for _, chain := range keys {
			if chain != "" {
				refs[chain]++
			}
		}
	}
	return refs
}

// manyAttachments is the number of remaining attachments of a policy above which
// concurrent DELs do not end the policy.
const manyAttachments = 100

// leavesMany reports whether many attachments remain under each policy whose elements are
// removed.
func leavesMany(have *observed, removed removedElements) bool {
	refs := references(removed)
	if len(refs) == 0 {
		return false
	}
	for chain, n := range refs {
		if ch := have.chains[chain]; ch == nil || int(ch.uses)-n-len(ch.rules) < manyAttachments {
			return false
		}
	}
	return true
}
