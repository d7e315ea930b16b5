package nft

// removed says which elements a transaction will have deleted: by set, by key. Of
// verdict maps the value is the chain that the element went to.
type removed map[string]map[string]string

func (r removed) add(set, key, chain string) {
	if r[set] == nil {
		r[set] = map[string]string{}
	}
	r[set][key] = chain
}

// references is how many of the elements that are removed go to each chain.
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

// crowd is the number of attachments that have to be left under a policy for it to be
// certain that DELs at the same time do not end it.
const crowd = 100

// crowded reports whether a removal leaves many attachments under each policy that it
// takes one from.
func crowded(have *observed, gone removed) bool {
	refs := references(gone)
	if len(refs) == 0 {
		return false
	}
	for chain, n := range refs {
		if ch := have.chains[chain]; ch == nil || int(ch.uses)-n-len(ch.rules) < crowd {
			return false
		}
	}
	return true
}
