package report

import (
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// TestMSSOfAPolicy: the column MSS counts the clamps by prefix and the local ones.
func TestMSSOfAPolicy(t *testing.T) {
	clamps := masq.MSSClamps{netip.MustParsePrefix("198.51.100.0/24"): 172}
	for want, p := range map[string]masq.Policy{
		"pmtu":                       {},
		"off, 1 by prefix":           {MSSClamp: masq.ClampOff, MSSClamps: clamps},
		"pmtu, 1 local":              {LocalMSSClamps: clamps},
		"pmtu, 1 by prefix, 1 local": {MSSClamps: clamps, LocalMSSClamps: clamps},
	} {
		if got := (Policy{Policy: p}).mss(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
