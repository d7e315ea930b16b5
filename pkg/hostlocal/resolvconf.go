package hostlocal

import (
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// resolvConf reads the DNS settings of a file in the format of resolv.conf(5).
func resolvConf(path string) (types.DNS, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return types.DNS{}, err
	}
	var dns types.DNS
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		// Comments and unknown options are ignored.
		switch f[0] {
		case "nameserver":
			dns.Nameservers = append(dns.Nameservers, f[1])
		case "domain":
			dns.Domain = f[1]
		case "search":
			dns.Search = append(dns.Search, f[1:]...)
		case "options":
			dns.Options = append(dns.Options, f[1:]...)
		}
	}
	return dns, nil
}
