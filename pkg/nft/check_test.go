package nft

import (
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// TestCheckReadsTwice: a rule that is missing when the table is read first and exists when it
// is read again is no difference. A rule that stays missing is one.
func TestCheckReadsTwice(t *testing.T) {
	c := kernel(t)
	a := attachment("a", rich(t), "10.88.0.5")
	want := ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, everyEgress)
	other, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	for _, restored := range []bool{true, false} {
		if _, err := c.Apply(want); err != nil {
			t.Fatal(err)
		}
		nftables(t, "flush chain inet masq invalid", "-f", "-")
		asked := false
		has := func(netip.Addr) (bool, error) { // called after the table has been read
			if restored && !asked {
				asked = true
				if _, err := other.Apply(want); err != nil {
					return false, err
				}
			}
			return true, nil
		}
		changes, err := c.Check(a, has)
		if err != nil || (len(changes) == 0) != restored || asked != restored {
			t.Errorf("restored %t: %v, %v", restored, texts(changes), err)
		}
	}
}
