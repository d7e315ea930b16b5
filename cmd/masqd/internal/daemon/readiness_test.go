package daemon

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// A missing egress address makes masqd unready only if flows are dropped.
func TestReadinessWithMissingEgress(t *testing.T) {
	for _, c := range []struct {
		missing ruleset.MissingEgress
		ready   bool
		reason  string
	}{
		{ruleset.MissingEgress{Dropped: true}, false, "flows are dropped"},
		{ruleset.MissingEgress{Unused: true}, true, "no attachment of the policy uses its family"},
		{ruleset.MissingEgress{}, true, "flows leave with the policy's other addresses"},
	} {
		c.missing.Policy, c.missing.Address = "node-1a2b3c4d", netip.MustParseAddr("2001:db8::7")
		s := reconcile.Stats{LastSync: time.Unix(1, 0), MissingEgress: []ruleset.MissingEgress{c.missing}}
		r := readinessOf(s, reconcile.NodeConfig{}, nil)
		if r.Ready != c.ready || len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], "2001:db8::7; ") || !strings.HasSuffix(r.Reasons[0], c.reason) {
			t.Errorf("%+v: %+v", c.missing, r)
		}
	}
}
