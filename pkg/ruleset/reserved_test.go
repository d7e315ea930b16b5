package ruleset

import (
	"fmt"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestFreePorts(t *testing.T) {
	r := func(first, last uint16) masq.PortRange { return masq.PortRange{First: first, Last: last} }
	many := []masq.PortRange{}
	for port := uint16(20000); port < 20100; port += 10 {
		many = append(many, r(port, port))
	}
	for _, c := range []struct {
		name              string
		toPorts, reserved []masq.PortRange
		want              string
	}{
		{"without toPorts", nil, nil, "[1024-65535]"},
		{"a service", []masq.PortRange{r(20000, 20009)}, []masq.PortRange{r(20004, 20004)}, "[20000-20003 20005-20009]"},
		{"all reserved", []masq.PortRange{r(20000, 20009)}, []masq.PortRange{r(10000, 30000)}, "[]"},
		{"another port", []masq.PortRange{r(20000, 20009)}, []masq.PortRange{r(22, 22)}, "[20000-20009]"},
		{
			"more ranges than a policy has rules for",
			[]masq.PortRange{r(20000, 20099)},
			many,
			"[20001-20009 20011-20019 20021-20029 20031-20039 20041-20049 20051-20059 20061-20069 20071-20079]",
		},
	} {
		if got := fmt.Sprint(FreePorts(c.toPorts, c.reserved)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
