package cniconf

import (
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestValidateInterface(t *testing.T) {
	for _, name := range []string{"eth0", "net1", "a.b-c_d", "eth'0", "ethé", "x;{}#$*", "eth0@if5"} {
		if err := ValidateInterface(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"a\"b":        `CNI_IFNAME: "a\"b" has a quote, a backslash or a percent sign; give a name such as "eth0"`,
		"a\\b":        `CNI_IFNAME: "a\\b" has a quote, a backslash or a percent sign; give a name such as "eth0"`,
		"eth%d":       `CNI_IFNAME: "eth%d" has a quote, a backslash or a percent sign; give a name such as "eth0"`,
		"a\x1b[2J":    `CNI_IFNAME: "a\x1b[2J" has characters that cannot be printed; give a name such as "eth0"`,
		"a\x7f":       `CNI_IFNAME: "a\x7f" has characters that cannot be printed; give a name such as "eth0"`,
		"a\u202eb":    `CNI_IFNAME: "a\u202eb" has characters that cannot be printed; give a name such as "eth0"`,
		"a\u2066b":    `CNI_IFNAME: "a\u2066b" has characters that cannot be printed; give a name such as "eth0"`,
		"a\u200db":    `CNI_IFNAME: "a\u200db" has characters that cannot be printed; give a name such as "eth0"`,
		"a\xff":       `CNI_IFNAME: "a\xff" has characters that cannot be printed; give a name such as "eth0"`,
		"a\u009b31mb": `CNI_IFNAME: "a\u009b31mb" has characters that cannot be printed; give a name such as "eth0"`,
	} {
		wantError(t, ValidateInterface(name), types.ErrInvalidEnvironmentVariables, "invalid environment variable CNI_IFNAME", want)
	}
}
