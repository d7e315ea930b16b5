package reconcile

import (
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestRebuiltPolicy: a rebuilt record has the annotations that its network allows, if another
// attachment of the network has a record.
func TestRebuiltPolicy(t *testing.T) {
	var all []store.Record
	for i, network := range []string{"first", "own", "last"} {
		r := record(network)
		r.Network, r.Created = network, time.Unix(int64(i), 0)
		r.Policy.Node, r.Policy.EgressDirect = true, true
		if r.Policy.AllowAnnotations = []string{}; network == "own" {
			r.Policy.AllowAnnotations = []string{masq.EgressAnnotation}
		}
		all = append(all, r)
	}
	r := &Rebuilder{deps: RebuildDeps{Records: newLoop(t, &fakeKernel{}, all...).deps.Records}}
	for network, want := range map[string]int{"own": 1, "another": 0} {
		p, err := r.policy(network, all[0].Policy.ID())
		if err != nil || len(p.AllowAnnotations) != want {
			t.Errorf("network %s: %v, %v", network, p, err)
		}
	}
}
