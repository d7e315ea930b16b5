package ruleset

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// TestDuplicateAddress: if two attachments have one address, the later one has all
// elements of it. The earlier one keeps its link, and the chain of its policy.
func TestDuplicateAddress(t *testing.T) {
	plain, ftp := masq.Default(), masq.Default()
	ftp.Helpers = []masq.Helper{{Name: "ftp", Ports: []uint16{21}}}
	ftp.MSSClamp, _ = masq.ClampTo(1300)
	at := func(id string, p masq.Policy, addresses ...string) masq.Attachment {
		a := masq.Attachment{Key: masq.Key{Network: "net", ContainerID: id, Interface: "eth0"}, Policy: &p, SpoofCheck: true}
		for _, x := range addresses {
			a.Addresses = append(a.Addresses, netip.MustParseAddr(x))
		}
		return a
	}
	a, b := at("a", ftp, "10.0.0.1", "10.0.0.2"), at("b", plain, "10.0.0.2", "10.0.0.2")
	for _, test := range []struct {
		all  []masq.Attachment
		want map[string]string // keys by set
	}{
		{[]masq.Attachment{a, b}, map[string]string{
			"policy4": "10.0.0.1=net/a/eth0 10.0.0.2=net/b/eth0", "clamp4-1300": "10.0.0.1=", "clamp4-pmtu": "10.0.0.2=",
			"helper4-ftp-tcp": "10.0.0.1 . 21=", "invalid4": "10.0.0.1= 10.0.0.2=",
		}},
		{[]masq.Attachment{b, a}, map[string]string{
			"policy4": "10.0.0.1=net/a/eth0 10.0.0.2=net/a/eth0", "clamp4-1300": "10.0.0.1= 10.0.0.2=", "clamp4-pmtu": "",
			"helper4-ftp-tcp": "10.0.0.1 . 21= 10.0.0.2 . 21=", "invalid4": "10.0.0.1= 10.0.0.2=",
		}},
	} {
		table := For(test.all, Sources{}, Egress{})
		for _, s := range table.Sets {
			var keys []string
			for _, e := range s.Elements {
				keys = append(keys, e.Key+"="+e.Comment)
			}
			if want, named := test.want[s.Name]; named && strings.Join(keys, " ") != want {
				t.Errorf("%s: %q, want %q", s.Name, keys, want)
			}
			if s.Name == "sources4" && len(keys) != 3 {
				t.Errorf("%s: %q", s.Name, keys)
			}
		}
		chains := map[string]bool{}
		for _, c := range table.Chains {
			chains[c.Name] = true
		}
		if !chains["policy-"+ftp.ID()] || !chains["policy-"+plain.ID()] {
			t.Errorf("chains %v", chains)
		}
	}
}
