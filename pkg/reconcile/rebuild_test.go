package reconcile

import (
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// A record that is rebuilt has the annotations that its own network allows, if another
// attachment of the network tells which.
func TestRebuiltPolicyIsItsNetworks(t *testing.T) {
	var all []store.Record
	for _, network := range []string{"first", "own", "last"} {
		r := record(network)
		r.Network = network
		r.Policy.Node, r.Policy.EgressDirect = true, true
		if r.Policy.AllowAnnotations = []string{}; network == "own" {
			r.Policy.AllowAnnotations = []string{masq.EgressAnnotation}
		}
		all = append(all, r)
	}
	r := &Rebuild{Snapshot: func() Snapshot { return snapshot(all...) }}
	for network, want := range map[string]int{"own": 1, "another": 0} {
		p, err := r.policy(network, all[0].Policy.ID())
		if err != nil || len(p.AllowAnnotations) != want {
			t.Errorf("network %s: %v, %v", network, p, err)
		}
	}
}
