package ruleset

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// TestLive: Live returns for one attachment the elements that For puts into the table.
func TestLive(t *testing.T) {
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
		if !s.Live {
			continue
		}
		for _, e := range s.Elements {
			want = append(want, LiveElement{s.Name, e})
			if x := SubjectOf(e.Key); s.Name == "links" && x != (Subject{Link: a.HostName()}) || s.Name != "links" && !slices.Contains(a.Addresses, x.Address) {
				t.Errorf("the subject of %q is %+v", e.Key, x)
			}
		}
	}
	got := Live(a, OwnsAll)
	if len(got) != len(want) {
		t.Errorf("%d elements, not %d", len(got), len(want))
	}
	for _, e := range want {
		if !slices.Contains(got, e) {
			t.Errorf("element %s of %s is missing", e.Key, e.Set)
		}
	}
	for _, s := range table.Skeleton().Sets {
		if s.Live != (len(s.Elements) == 0) && s.Name != "direct4-"+p.ID() && s.Name != "direct6-"+p.ID() && s.Name != string(ReservedSet) {
			t.Errorf("the skeleton's set %s has %d elements", s.Name, len(s.Elements))
		}
	}
}
