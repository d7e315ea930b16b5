package nft

// removed has the elements that a transaction removes: by set, by key. For verdict maps
// the value is the chain that the element leads to.
type removed map[string]map[string]string

func (r removed) add(set, key, chain string) {
	if r[set] == nil {
		r[set] = map[string]string{}
	}
	r[set][key] = chain
}

// references returns how many of the removed elements lead to each chain.
func references(gone removed) map[string]int {
	refs := map[string]int{}
	for _, keys := range gone {
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
func leavesMany(have *observed, gone removed) bool {
	refs := references(gone)
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
