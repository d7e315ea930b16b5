package ruleset

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// The elements of one attachment are those of the complete table, and the name of each
// live set says all of the set but its elements.
func TestLiveIsWhatForMakes(t *testing.T) {
	p := masq.Default()
	p.Helpers = []masq.Helper{{Name: "ftp", Ports: []uint16{21, 2121}}, {Name: "talk", Ports: []uint16{517}}}
	clamp, err := masq.ClampTo(1300)
	if err != nil {
		t.Fatal(err)
	}
	p.MSSClamp = clamp
	a := masq.Attachment{
		Key: masq.Key{Network: "n", ContainerID: "c", Interface: "eth0"}, Policy: &p, SpoofCheck: true,
		Addresses: []netip.Addr{netip.MustParseAddr("10.88.0.5"), netip.MustParseAddr("fd00:88::5")},
	}
	table := For([]masq.Attachment{a}, Sources{}, Egress{})
	var want []LiveElement
	for _, s := range table.Sets {
		named, live := LiveSet(s.Name)
		if live != s.Live {
			t.Errorf("set %s is live: %t, by its name %t", s.Name, s.Live, live)
		}
		if !s.Live {
			continue
		}
		for _, e := range s.Elements {
			want = append(want, LiveElement{s.Name, e})
			if x := SubjectOf(e.Key); s.Name == "links" && x != (Subject{Link: a.HostName()}) || s.Name != "links" && !slices.Contains(a.Addresses, x.Address) {
				t.Errorf("the subject of %q is %+v", e.Key, x)
			}
		}
		s.Elements = nil
		if named.Name != s.Name || named.Type != s.Type || named.Verdict != s.Verdict || named.Counter != s.Counter || named.Interval {
			t.Errorf("set %s is %+v, by its name %+v", s.Name, s, named)
		}
	}
	got := Live(a, Owned)
	if len(got) != len(want) {
		t.Errorf("%d elements, not %d", len(got), len(want))
	}
	for _, e := range want {
		if !slices.Contains(got, e) {
			t.Errorf("element %s of %s is left out", e.Key, e.Set)
		}
	}
	for _, s := range table.Skeleton().Sets {
		if s.Live != (len(s.Elements) == 0) && s.Name != "direct4-"+p.ID() && s.Name != "direct6-"+p.ID() && s.Name != string(ReservedSet) {
			t.Errorf("the skeleton's set %s has %d elements", s.Name, len(s.Elements))
		}
	}
	for _, name := range []string{"policy", "policy5", "policy-4", "clamp4", "clamp4-", "helper6-", "direct4-x", "never", "cidr4"} {
		if _, live := LiveSet(name); live {
			t.Errorf("%s passes for a live set", name)
		}
	}
}
