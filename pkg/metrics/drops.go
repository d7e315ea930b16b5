package metrics

import (
	"maps"
	"sync"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// dropCounter adds up the packets that rules drop. The counter of a rule restarts at 0
// when the rule is recreated, and is removed with its policy; the sums never decrease.
type dropCounter struct {
	rules func() ([]nft.CountedRule, error)

	mu   sync.Mutex
	last map[ruleKey]uint64
	sums map[string]uint64 // by reason
}

type ruleKey struct{ chain, id string }

// total reads the rules, and returns the sums by reason.
func (d *dropCounter) total() (map[string]uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rules, err := d.rules()
	if err != nil {
		return nil, err
	}
	now := map[ruleKey]uint64{}
	for _, r := range rules {
		if _, ok := ruleset.DropReasonOf(r.Chain, r.ID); ok {
			now[ruleKey{r.Chain, r.ID}] += r.Packets
		}
	}
	out := map[string]uint64{}
	for _, reason := range ruleset.DropReasons {
		out[string(reason)] = d.sums[string(reason)]
	}
	for key, n := range now {
		reason, _ := ruleset.DropReasonOf(key.chain, key.id)
		if before := d.last[key]; n >= before {
			n -= before
		}
		out[string(reason)] += n
	}
	d.last, d.sums = now, maps.Clone(out)
	return out, nil
}
