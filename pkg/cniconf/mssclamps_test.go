package cniconf

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestMSSClamps(t *testing.T) {
	c := load(t, `"mssClamps": {"198.51.100.0/24": 172, "2001:db8::/32": 1220}`)
	if got := fmt.Sprint(c.Policy.MSSClamps); got != "map[198.51.100.0/24:172 2001:db8::/32:1220]" || !c.PolicyNamed {
		t.Errorf("%s, a policy of the network: %t", got, c.PolicyNamed)
	}
	_, err := Load([]byte(`{"cniVersion": "1.1.0", "name": "n", "type": "masq",
  "mssClamps": {"198.51.100.0/24": 172, "198.51.100.0/24": 173, "10.0.0.1/8": 500, "10.0.0.0/8": 1e9}}`), "")
	for _, want := range []string{
		`line 2, column 41: mssClamps: "198.51.100.0/24" is given twice, first on line 2, column 17; keep one of them`,
		`mssClamps: "10.0.0.1/8" has bits beyond its length; write "10.0.0.0/8"`,
		`mssClamps.10.0.0.0/8: 1e9 is not a number of bytes within 48-65495; give 48-65495`,
	} {
		if err == nil || !strings.Contains(details(err), want) {
			t.Errorf("%s is not in\n%v", want, details(err))
		}
	}
}

// details returns the lines of an error for each fault.
func details(err error) string {
	e, ok := errors.AsType[*types.Error](err)
	if !ok {
		return ""
	}
	return e.Details
}
