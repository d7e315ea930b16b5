package masq

import (
	"net/netip"
	"testing"
)

func prefixes(all ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestDirectRanges(t *testing.T) {
	nested := Default()
	nested.NonMasquerade = prefixes("10.0.0.0/8", "10.9.9.0/24")
	nested.Masquerade = prefixes("10.9.0.0/16")
	everything := Default()
	everything.Masquerade = prefixes("0.0.0.0/0", "::/0")
	everything.Subnets = prefixes("10.88.0.0/16", "fd00:88::/64")
	own := everything
	own.Masquerade = prefixes("10.88.0.0/16")
	metadata := Default()
	metadata.Masquerade = prefixes("169.254.169.254/32")
	linkLocal := Default()
	linkLocal.LinkLocal4, linkLocal.LinkLocal6 = true, true

	for _, tt := range []struct {
		name   string
		policy Policy
		addr   string
		direct bool
	}{
		{"nothing asked", Default(), "198.51.100.1", false},
		{"nothing asked, link-local", Default(), "169.254.1.1", true},
		{"nothing asked, IPv6 link-local", Default(), "fe80::1", true},
		{"nothing asked, multicast", Default(), "224.0.0.251", true},
		{"nothing asked, broadcast", Default(), "255.255.255.255", true},
		{"in the prefix", nested, "10.1.2.3", true},
		{"in the longer one", nested, "10.9.1.1", false},
		{"in the longest", nested, "10.9.9.1", true},
		{"in none", nested, "11.0.0.1", false},
		{"own subnet is longer", everything, "10.88.0.9", true},
		{"own subnet is longer, IPv6", everything, "fd00:88::9", true},
		{"own subnet asked for", own, "10.88.0.9", false},
		{"multicast never", everything, "239.1.1.1", true},
		{"IPv6 multicast never", everything, "ff02::1", true},
		{"one link-local address asked for", metadata, "169.254.169.254", false},
		{"its neighbour not", metadata, "169.254.169.253", true},
		{"link-local asked for", linkLocal, "169.254.1.1", false},
		{"IPv6 link-local asked for", linkLocal, "fe80::1", false},
	} {
		a := netip.MustParseAddr(tt.addr)
		if got := tt.policy.DirectRanges(FamilyOf(a)).Contains(a); got != tt.direct {
			t.Errorf("%s: %s is direct: %t, want %t", tt.name, a, got, tt.direct)
		}
	}
}

// The ranges contain an address if the prefixes make it direct. Each bound of a prefix
// is tested, and the addresses before and after it.
func FuzzDirectRanges(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0, 8, 0, 10, 9, 0, 0, 16, 1, 10, 9, 9, 0, 24, 0})
	f.Add([]byte{0, 0, 0, 0, 0, 1, 255, 255, 255, 255, 32, 0, 128, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p := Default()
		for ; len(b) >= 6; b = b[6:] {
			x := netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), int(b[4]%33)).Masked()
			if b[5]%2 == 0 {
				p.NonMasquerade = append(p.NonMasquerade, x)
			} else {
				p.Masquerade = append(p.Masquerade, x)
			}
		}
		ranges := p.DirectRanges(IPv4)
		for i, r := range ranges {
			if r.Last.Less(r.First) || i > 0 && !ranges[i-1].Last.Next().Less(r.First) {
				t.Errorf("%v does not follow %v", r, ranges[max(0, i-1)])
			}
			if x, ok := r.Prefix(); ok && (x.Addr() != r.First || LastAddr(x) != r.Last) {
				t.Errorf("%v is not %v", r, x)
			}
		}
		for _, x := range append(append([]netip.Prefix{}, p.NonMasquerade...), p.Masquerade...) {
			for _, a := range []netip.Addr{x.Addr().Prev(), x.Addr(), LastAddr(x), LastAddr(x).Next()} {
				if want := isDirect(p.decisions(), a); a.IsValid() && ranges.Contains(a) != want {
					t.Errorf("%v: %s is direct: %t, want %t", p, a, !want, want)
				}
			}
		}
	})
}

func TestDirectRangesAreSorted(t *testing.T) {
	p := Default()
	p.NonMasquerade = prefixes("10.0.0.0/8", "fd00::/8")
	p.Masquerade = prefixes("10.9.0.0/16")
	var got []string
	for _, f := range Families {
		for _, r := range p.DirectRanges(f) {
			got = append(got, r.First.String()+" "+r.Last.String())
		}
	}
	want := []string{
		"10.0.0.0 10.8.255.255", "10.10.0.0 10.255.255.255", "169.254.0.0 169.254.255.255",
		"224.0.0.0 239.255.255.255", "255.255.255.255 255.255.255.255",
		"fd00:: fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80:: febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"ff00:: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("got %q\nnot %q", got, want)
		}
	}
}
