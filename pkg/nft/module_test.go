package nft

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestMissingNAT(t *testing.T) {
	const (
		ct      = "nf_conntrack_ftp 24576 1 - Live 0x0000000000000000\n"
		nat     = "nf_nat_ftp 16384 0 - Live 0x0000000000000000\n"
		loading = "nf_nat_ftp 16384 0 - Loading 0x0000000000000000\n"
		list    = "kernel/fs/ext4/ext4.ko\n"
		listed  = list + "kernel/net/netfilter/nf_nat_ftp.ko\n"
		none    = "-" // no such file
	)
	ftp := []MissingHelper{{"ftp", "nf_nat_ftp"}}
	for name, c := range map[string]struct {
		helper                string
		direct                bool
		loaded, builtin, then string // then: /proc/modules after an attempt to load
		attempts              []string
		missing               []MissingHelper
	}{
		"no modules at all":              {loaded: none, builtin: none},
		"loaded":                         {loaded: ct + nat, builtin: list},
		"loaded, no list":                {loaded: ct + nat, builtin: none},
		"built in":                       {loaded: "", builtin: listed},
		"built in, no list":              {loaded: "", builtin: none},
		"Debian 12":                      {loaded: ct, builtin: list, then: ct + nat, attempts: []string{"nf_nat_ftp"}},
		"Debian 12, in a container":      {loaded: ct, builtin: none, then: ct + nat, attempts: []string{"nf_nat_ftp"}},
		"being loaded by others":         {loaded: ct + loading, builtin: list, then: ct + nat, attempts: []string{"nf_nat_ftp"}},
		"cannot be loaded":               {loaded: ct, builtin: list, then: ct, attempts: []string{"nf_nat_ftp"}, missing: ftp},
		"cannot be loaded, no list":      {loaded: ct, builtin: none, then: ct, attempts: []string{"nf_nat_ftp"}, missing: ftp},
		"helper built in, NAT a module":  {loaded: "", builtin: list, then: nat, attempts: []string{"nf_nat_ftp"}},
		"helper built in, NAT is absent": {loaded: "", builtin: list, then: "", attempts: []string{"nf_nat_ftp"}, missing: ftp},
		"has no NAT":                     {helper: "sane", loaded: "", builtin: list},
		"no translation":                 {direct: true, loaded: ct, builtin: list},
		"too long for an interface": {
			helper: "snmp", loaded: "nf_conntrack_snmp 1 0 - Live 0\n", builtin: list, then: "nf_nat_snmp_basic 1 0 - Live 0\n",
			attempts: []string{"nf_nat_snmp_basic"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, content string) string {
				file := filepath.Join(dir, name)
				if content != none {
					if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				return file
			}
			var attempts []string
			loaded, builtin := write("modules", c.loaded), write("modules.builtin", c.builtin)
			m := modules{loaded: loaded, builtin: func() string { return builtin }, load: func(module string) {
				attempts = append(attempts, module)
				write("modules", c.then)
			}}
			p := masq.Default()
			p.EgressDirect = c.direct
			p.Helpers = []masq.Helper{{Name: "ftp", Ports: []uint16{21}}}
			if c.helper != "" {
				p.Helpers[0].Name = c.helper
			}
			if got := m.missingNAT(p); !slices.Equal(got, c.missing) {
				t.Errorf("missing %v, want %v", got, c.missing)
			}
			if !slices.Equal(attempts, c.attempts) {
				t.Errorf("tried to load %v, want %v", attempts, c.attempts)
			}
		})
	}
}
