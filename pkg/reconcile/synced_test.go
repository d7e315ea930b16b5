package reconcile

import (
	"errors"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// TestSynced calls Synced after each successful sync, with the reserved ports of the rules.
func TestSynced(t *testing.T) {
	var calls []ruleset.Egress
	var failing error
	l := newLoopOf(t, &fakeKernel{}, func(d *Deps) {
		d.Synced = func(e ruleset.Egress) { calls = append(calls, e) }
		d.ServicePorts = func([]masq.PortRange) ([]masq.PortRange, error) {
			return []masq.PortRange{{First: 443, Last: 443}}, nil
		}
		d.Rules = failingRules{d.Rules, &failing}
	}, numbered(1))
	l.syncScope(t, Everything)
	if len(calls) != 1 || len(calls[0].Reserved) != 1 || calls[0].Reserved[0].First != 443 {
		t.Fatalf("after a sync: %+v", calls)
	}
	failing = errors.New("no")
	l.syncScope(t, Everything)
	if len(calls) != 1 {
		t.Errorf("after a sync that failed: %+v", calls)
	}
	failing = nil
	l.syncScope(t, Changes)
	if len(calls) != 2 {
		t.Errorf("after another sync: %+v", calls)
	}
}

// failingRules cannot read the generation while err is set.
type failingRules struct {
	Rules
	err *error
}

func (r failingRules) Generation() (uint32, error) {
	if *r.err != nil {
		return 0, *r.err
	}
	return r.Rules.Generation()
}
