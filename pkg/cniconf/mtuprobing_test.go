package cniconf

import (
	"strings"
	"testing"
)

// TestMTUProbing: chained mode refuses it, because masq changes no setting of the container
// there.
func TestMTUProbing(t *testing.T) {
	const main = `"ipam": {"type": "host-local", "subnet": "10.88.0.0/16"}, `
	if c := load(t, main+`"mtuProbing": true`); !c.MTUProbing || c.PolicyNamed {
		t.Errorf("probing %t, a policy of the network: %t", c.MTUProbing, c.PolicyNamed)
	}
	if c := load(t, `"mtuProbing": false`); c.MTUProbing {
		t.Error("probing is enabled")
	}
	_, err := Load([]byte(`{"cniVersion": "1.1.0", "name": "n", "type": "masq", "mtuProbing": true}`), "")
	if err == nil || !strings.Contains(details(err), `line 1, column 68: mtuProbing: true needs ipam`) {
		t.Errorf("%v", details(err))
	}
}
