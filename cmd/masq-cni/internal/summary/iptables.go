package summary

import (
	"os"
	"slices"
	"strings"
)

// legacyTables returns the programs of legacy iptables whose table filter exists. The
// kernel keeps that table apart from nf_tables, and pkg/nft cannot read it.
func legacyTables() (programs []string) {
	for _, x := range []struct{ file, program string }{{"ip_tables_names", "iptables-legacy"}, {"ip6_tables_names", "ip6tables-legacy"}} {
		// The calling thread may be in another network namespace than the process.
		b, err := os.ReadFile("/proc/thread-self/net/" + x.file)
		if err == nil && slices.Contains(strings.Fields(string(b)), "filter") {
			programs = append(programs, x.program)
		}
	}
	return programs
}
