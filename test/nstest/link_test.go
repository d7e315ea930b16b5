package nstest

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// TestLinkIsUsableOnReturn: the first packet over a link is not lost. If it were, the ping would
// take a second or more, because ARP and neighbor discovery repeat after one.
func TestLinkIsUsableOnReturn(t *testing.T) {
	lab := New(t)
	a, b := assert.Must(lab.Namespace("a"))(t), assert.Must(lab.Namespace("b"))(t)
	for i := range 10 {
		name := fmt.Sprintf("v%d", i)
		four, six := fmt.Sprintf("10.0.%d.", i), fmt.Sprintf("fd00:%d::", i)
		near := []netip.Prefix{netip.MustParsePrefix(four + "1/24"), netip.MustParsePrefix(six + "1/64")}
		far := []netip.Prefix{netip.MustParsePrefix(four + "2/24"), netip.MustParsePrefix(six + "2/64")}
		assert.NoError(t, Connect(End{a, name, near}, End{b, name, far}, 1500))
		for _, p := range far {
			r := assert.Must(a.Ping(within(t), p.Addr(), PingOptions{}))(t)
			if !r.Reply() || r.From != p.Addr() || r.RTT > 500*time.Millisecond {
				t.Errorf("link %d: %+v", i, r)
			}
		}
	}
}

func TestLinkProperties(t *testing.T) {
	lab := New(t)
	a, b := assert.Must(lab.Namespace("a"))(t), assert.Must(lab.Namespace("b"))(t)
	prefix := netip.MustParsePrefix("10.0.0.1/24")
	assert.NoError(t, Connect(End{a, "left", []netip.Prefix{prefix}}, End{NS: b, Name: "right"}, 1400))
	if got := assert.Must(a.LinkNames())(t); !slices.Equal(got, []string{"lo", "left"}) {
		t.Errorf("links %v", got)
	}
	assert.NoError(t, b.SetMTU("right", 1300))
	if l, r := assert.Must(a.MTU("left"))(t), assert.Must(b.MTU("right"))(t); l != 1400 || r != 1300 {
		t.Errorf("MTU %d and %d", l, r)
	}
	six := netip.MustParsePrefix("fd00::1/128")
	assert.NoError(t, a.AddAddress("left", six))
	if got := assert.Must(a.Addresses())(t); !slices.Equal(got, []netip.Prefix{prefix, six}) {
		t.Errorf("addresses %v", got)
	}
	assert.NoError(t, a.RemoveAddress("left", prefix))
	if got := assert.Must(a.Addresses())(t); !slices.Equal(got, []netip.Prefix{six}) {
		t.Errorf("addresses %v", got)
	}
	assert.NoError(t, b.RemoveLink("right"))
	if got := assert.Must(a.LinkNames())(t); !slices.Equal(got, []string{"lo"}) {
		t.Errorf("links %v", got)
	}
	for what, err := range map[string]error{
		"MTU of no link":   a.SetMTU("left", 1500),
		"IPv6 below 1280":  Connect(End{a, "x", []netip.Prefix{six}}, End{NS: b, Name: "x"}, 1279),
		"route to nowhere": a.Route(netip.MustParsePrefix("10.1.0.0/16"), netip.MustParseAddr("10.2.0.1")),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
