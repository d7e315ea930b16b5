package reconcile

// Urgency is how soon a requested sync has to run.
type Urgency uint8

// A request that is less urgent than a pending one does not delay it.
const (
	// Soon waits for the pause after the previous sync.
	Soon Urgency = iota
	// Urgent ends the pause while the budget of processor time lasts: packets may be
	// leaving untranslated.
	Urgent
	// Interactive ends the pause in any case: a person waits for the result.
	Interactive
)

// Scope is a set of the objects that a sync compares.
type Scope uint8

const (
	// Changes are the objects named by events since the previous sync: elements of
	// transactions, records, damaged links. Every sync compares them.
	Changes Scope = 1 << iota
	// Forwarding is the forwarding settings of uplinks and of the links that the plugin
	// made.
	Forwarding
	// AllLinks are all links that the plugin made.
	AllLinks
	// StaleAttachments makes the next resync remove attachments whose container no longer
	// exists.
	StaleAttachments
	// Generation is the generation number of the kernel's ruleset. If it shows that
	// notifications are missing, the whole table is compared.
	Generation

	// Everything is compared at start and after lost events.
	Everything = Changes | Forwarding | AllLinks | StaleAttachments | Generation
)

// request is what a sync has to do, merged from all requests since the previous one.
type request struct {
	urgency Urgency
	scope   Scope
}

// RequestSync requests a sync and never blocks. The reason is a label of the metrics.
func (l *Loop) RequestSync(reason string, u Urgency, s Scope) {
	l.mu.Lock()
	l.stats.Requests[reason]++
	l.pending.merge(request{u, s})
	l.mu.Unlock()
	notify(l.wake)
	if u > Soon {
		notify(l.urgent)
	}
}

// notify sends on a channel with room for one value, unless one is already there.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// merge adds another request.
func (r *request) merge(o request) {
	r.urgency = max(r.urgency, o.urgency)
	r.scope |= o.scope
}
