package nft

import (
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestDifferenceNames(t *testing.T) {
	for want, d := range map[string]Difference{
		"table inet masq: missing":                       {Kind: KindTable, Reason: masq.Missing, Object: "inet masq"},
		"rule forward forward/clamp: missing":            {Kind: KindRule, Reason: masq.Missing, Parent: "forward", Object: "forward/clamp"},
		"rule forward forward/clamp: is last":            {Kind: KindRule, Reason: masq.Changed, Parent: "forward", Object: "forward/clamp", Detail: "is last"},
		"rule forward \"a\\nb\": unexpected, handle 9":   {Kind: KindRule, Reason: masq.Unexpected, Parent: "forward", Object: "a\nb", Handle: 9},
		"rule forward handle 9: unexpected":              {Kind: KindRule, Reason: masq.Unexpected, Parent: "forward", Handle: 9},
		"element policy4 10.88.0.5: unexpected":          {Kind: KindElement, Reason: masq.Unexpected, Parent: "policy4", Object: "10.88.0.5"},
		"element direct4-0123456789ab: has other ranges": {Kind: KindElement, Reason: masq.Changed, Parent: "direct4-0123456789ab", Detail: "has other ranges"},
	} {
		if got := d.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
