package ruleset

import (
	"net/netip"
	"testing"
)

func TestHelperKeys(t *testing.T) {
	for _, text := range []string{
		"192.0.2.1 . tcp . 40000", "10.88.0.5 . udp . 518", "2001:db8::1 . tcp . 554",
		"192.0.2.1 . udp . 41000 . 198.51.100.1", "2001:db8::1 . tcp . 1 . ::1",
	} {
		if k, ok := ParseHelperKey(text); !ok || k.String() != text {
			t.Errorf("%q parses to %+v, %t", text, k, ok)
		}
	}
	for _, text := range []string{
		"", "192.0.2.1", "192.0.2.1 . 40000", "192.0.2.1 . icmp . 1", "192.0.2.1 . tcp . 65536", "192.0.2.1 . tcp . -1", "x . tcp . 1",
		"192.0.2.1 . tcp . 1 . x", "192.0.2.1 . tcp . 1 . ::1", "192.0.2.1 . tcp . 1 . 192.0.2.2 . 2", "192.0.2.1.tcp.1",
	} {
		if k, ok := ParseHelperKey(text); ok {
			t.Errorf("%q parses to %+v", text, k)
		}
	}
	at, peer := netip.MustParseAddrPort("[2001:db8::1]:5000"), netip.MustParseAddr("2001:db8::2")
	if k, ok := ParseHelperKey(SpokenKey(at, 6)); !ok || k != (HelperKey{at, 6, netip.Addr{}}) {
		t.Errorf("spoken: %+v, %t", k, ok)
	}
	if k, ok := ParseHelperKey(OpenedKey(at, 17, peer)); !ok || k != (HelperKey{at, 17, peer}) {
		t.Errorf("opened: %+v, %t", k, ok)
	}
	if got, ok := ParseOpenedData(OpenedData(at)); !ok || got != at {
		t.Errorf("data: %s, %t", got, ok)
	}
	for _, text := range []string{"", "192.0.2.1", "192.0.2.1 . ", "192.0.2.1 . 65536", " . 1"} {
		if got, ok := ParseOpenedData(text); ok {
			t.Errorf("data %q parses to %s", text, got)
		}
	}
}
