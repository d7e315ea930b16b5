package masq

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func clampsOf(t testing.TB, text string) MSSClamps {
	t.Helper()
	out := MSSClamps{}
	for field := range strings.FieldsSeq(text) {
		var mss uint16
		prefix, number, _ := strings.Cut(field, "=")
		if _, err := fmt.Sscan(number, &mss); err != nil {
			t.Fatal(err)
		}
		out[netip.MustParsePrefix(prefix)] = mss
	}
	return out
}

// TestMSSRanges: the longest prefix decides, ranges are disjoint and ascending, and of the
// node's local clamps and the policy's the smaller applies.
func TestMSSRanges(t *testing.T) {
	for _, tt := range []struct{ clamps, local, four, six string }{
		{"", "", "", ""},
		{"10.0.0.0/8=500", "", "10.0.0.0-10.255.255.255=500", ""},
		{"10.0.0.0/8=500 10.1.0.0/16=900", "", "10.0.0.0-10.0.255.255=500 10.1.0.0-10.1.255.255=900 10.2.0.0-10.255.255.255=500", ""},
		{"10.0.0.0/8=500 10.0.0.0/16=900 10.255.0.0/16=100", "", "10.0.0.0-10.0.255.255=900 10.1.0.0-10.254.255.255=500 10.255.0.0-10.255.255.255=100", ""},
		{"10.0.0.0/9=500 10.128.0.0/9=500", "", "10.0.0.0-10.255.255.255=500", ""},
		{"0.0.0.0/0=1400 255.255.255.255/32=48", "", "0.0.0.0-255.255.255.254=1400 255.255.255.255-255.255.255.255=48", ""},
		{"::/0=1220 2001:db8::/127=100", "", "", "::-2001:db7:ffff:ffff:ffff:ffff:ffff:ffff=1220 2001:db8::-2001:db8::1=100 2001:db8::2-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff=1220"},
		{"10.0.0.0/8=500", "10.1.0.0/16=172", "10.0.0.0-10.0.255.255=500 10.1.0.0-10.1.255.255=172 10.2.0.0-10.255.255.255=500", ""},
		{"10.1.0.0/16=172", "10.0.0.0/8=500", "10.0.0.0-10.0.255.255=500 10.1.0.0-10.1.255.255=172 10.2.0.0-10.255.255.255=500", ""},
		{"10.1.0.0/16=900", "10.0.0.0/8=500", "10.0.0.0-10.255.255.255=500", ""},
		{"", "192.0.2.0/24=172 192.0.2.9/32=300", "192.0.2.0-192.0.2.8=172 192.0.2.9-192.0.2.9=300 192.0.2.10-192.0.2.255=172", ""},
	} {
		p := Policy{MSSClamps: clampsOf(t, tt.clamps), LocalMSSClamps: clampsOf(t, tt.local)}
		for f, want := range map[Family]string{IPv4: tt.four, IPv6: tt.six} {
			var got []string
			for _, r := range p.MSSRanges(f) {
				got = append(got, fmt.Sprintf("%s-%s=%d", r.First, r.Last, r.MSS))
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%q with local %q, IPv%s: %q, want %q", tt.clamps, tt.local, f, got, want)
			}
		}
	}
}

// TestMSSRangesAgreeWithLongestPrefix compares the ranges with a search of all prefixes.
func TestMSSRangesAgreeWithLongestPrefix(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	longest := func(c MSSClamps, a netip.Addr) (mss uint16) {
		bits := -1
		for p, n := range c {
			if p.Contains(a) && p.Bits() > bits {
				bits, mss = p.Bits(), n
			}
		}
		return mss
	}
	for range 200 {
		p := Policy{MSSClamps: MSSClamps{}, LocalMSSClamps: MSSClamps{}}
		for _, c := range []MSSClamps{p.MSSClamps, p.LocalMSSClamps} {
			for range random.IntN(12) {
				a := netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(2)), byte(random.IntN(256))})
				c[netip.PrefixFrom(a, 22+random.IntN(11)).Masked()] = uint16(48 + random.IntN(5))
			}
		}
		ranges := p.MSSRanges(IPv4)
		for i := range 1024 {
			a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			want := longest(p.MSSClamps, a)
			if local := longest(p.LocalMSSClamps, a); local != 0 && (want == 0 || local < want) {
				want = local
			}
			var got uint16
			if i := slices.IndexFunc(ranges, func(r MSSRange) bool { return r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0 }); i >= 0 {
				got = ranges[i].MSS
			}
			if got != want {
				t.Fatalf("%s: %d, want %d; clamps %v, local %v, ranges %v", a, got, want, p.MSSClamps, p.LocalMSSClamps, ranges)
			}
		}
	}
}

// TestMSSClampsOfAPolicy: they are part of the digest and of the text, local ones of neither.
func TestMSSClampsOfAPolicy(t *testing.T) {
	p := Default()
	with := p
	with.MSSClamps = clampsOf(t, "198.51.100.0/24=172 2001:db8::/32=1220")
	local := p
	local.LocalMSSClamps = with.MSSClamps
	if p.ID() == with.ID() || p.Equal(with) {
		t.Error("mssClamps do not change the ID or the digest")
	}
	if p.ID() != local.ID() || !p.Equal(local) {
		t.Error("local clamps change the ID or the digest")
	}
	text, err := json.Marshal(with)
	if err != nil || !strings.Contains(string(text), `"mssClamps":{"198.51.100.0/24":172,"2001:db8::/32":1220}`) {
		t.Errorf("%s, %v", text, err)
	}
	var back Policy
	if err := json.Unmarshal(text, &back); err != nil || !back.Equal(with) {
		t.Errorf("%+v, %v", back, err)
	}
	for _, bad := range []Policy{
		{MSSClamps: MSSClamps{netip.MustParsePrefix("10.0.0.1/8"): 500}},
		{MSSClamps: MSSClamps{netip.MustParsePrefix("10.0.0.0/8"): 47}},
		{MSSClamps: MSSClamps{netip.MustParsePrefix("::ffff:10.0.0.0/104"): 500}},
		{MSSClamps: MSSClamps{{}: 500}},
	} {
		if bad.Validate() == nil {
			t.Errorf("%v is valid", bad.MSSClamps)
		}
	}
}

// TestNodePolicyKeepsLocalClamps: the node's policy for an attachment has the local clamps.
func TestNodePolicyKeepsLocalClamps(t *testing.T) {
	local := clampsOf(t, "198.51.100.0/24=172")
	old, node := Default(), Default()
	old.Node, old.LocalMSSClamps = true, local
	if got := node.For(old); !got.HasMSSClamps() {
		t.Error("the local clamps of the attachment's policy are lost")
	}
	old.LocalMSSClamps, node.LocalMSSClamps = nil, local
	if got := node.For(old); !got.HasMSSClamps() {
		t.Error("the local clamps of the node's policy are lost")
	}
}

func BenchmarkMSSRanges(b *testing.B) {
	p := Policy{MSSClamps: MSSClamps{}}
	for i := range MaxPrefixes {
		p.MSSClamps[netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 6), byte(i << 2), 0}), 22).Masked()] = uint16(48 + i)
	}
	for b.Loop() {
		p.MSSRanges(IPv4)
	}
}
