package reconcile

import "github.com/masq-cni/masq-cni/pkg/nft"

// maxTransactions is the number of transactions that wait to be explained; with more,
// all is compared.
const maxTransactions = 4096

// transactions are the ruleset changes, by other programs and by this process, that were
// not explained yet.
type transactions struct {
	all []nft.Transaction
	// lost says that some are missing.
	lost bool
}

// Transaction takes a transaction of the kernel's ruleset. It never waits.
func (l *Loop) Transaction(t nft.Transaction) {
	l.init()
	l.mu.Lock()
	if len(l.heard.all) >= maxTransactions {
		l.heard = transactions{lost: true}
	}
	l.heard.all = append(l.heard.all, t)
	many := len(l.heard.all) >= maxTransactions/2
	l.mu.Unlock()
	switch {
	case t.Ours() && t.Plugin():
		l.RequestSync("plugin", Soon, Changes)
	case t.Ours():
		l.RequestSync("rules", Urgent, Changes)
	case many, t.Published:
		l.RequestSync("rules", Soon, Changes)
	}
}

// take returns the transactions to explain, and clears them.
func (l *Loop) take() transactions {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.heard
	l.heard = transactions{}
	return out
}

// isAfter reports whether a generation is a later one than b: they are numbered round
// and round.
func isAfter(a, b uint32) bool { return int32(a-b) > 0 }

// exposes reports whether packets may have passed untranslated because of a
// transaction of another program, even if it has been repaired since. What the plugin
// changes of the structure is what its attachments need.
func exposes(t *nft.Transaction) bool { return t.Exposing && !t.Own && !t.Plugin() }
