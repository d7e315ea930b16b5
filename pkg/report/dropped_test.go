package report

import (
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
)

// TestDropped: counters are summed by reason.
func TestDropped(t *testing.T) {
	counted := func(chain, id string, n uint64) nft.CountedRule {
		return nft.CountedRule{Chain: chain, ID: id, Counter: nft.Counter{Packets: n}}
	}
	d := DroppedOf([]nft.CountedRule{
		counted("sources", "sources/spoofed", 2), counted("invalid", "invalid/drop4", 3), counted("invalid", "invalid/cidr6", 4),
		counted("sources", "sources/loopback", 8), counted("prerouting-nat", "prerouting/loopback", 1), counted("origin", "origin/other-link4", 6), counted("origin", "origin/own4", 9),
		counted("announced", "announced/privileged-tcp", 5), counted("policy-a", "policy/no-port-ports-tcp", 9), counted("policy-a", "policy/no-egress4", 1), counted("policy-a", "policy/egress4", 100),
	})
	if want := (Dropped{2, 9, 6, 5, 7, 9, 1}); d != want {
		t.Errorf("got %+v, want %+v", d, want)
	}
	if got := d.String(); got != "2 spoofed, 9 to the node's loopback, 6 by other links, 5 announced for a port of the node, 7 invalid, 9 without a port, 1 without an egress address" {
		t.Error(got)
	}
	if got := (Dropped{}).String(); got != "none" {
		t.Error(got)
	}
}

// TestPodDropped: an attachment has its own counters; a missing counter is null.
func TestPodDropped(t *testing.T) {
	a := masq.Attachment{Key: masq.Key{Network: "n", ContainerID: "a", Interface: "eth0"}, Addresses: []netip.Addr{addr("10.88.0.1"), addr("fd00::1")}}
	for _, x := range []struct {
		dropped nft.Dropped
		want    string
	}{
		{nft.Dropped{Spoofed: map[string]uint64{a.Identity(): 2, "n/b/eth0": 9}, Invalid: map[string]uint64{"10.88.0.1": 3, "fd00::1": 4, "10.88.0.2": 9}}, "2 spoofed, 7 invalid"},
		{nft.Dropped{Invalid: map[string]uint64{"10.88.0.1": 0, "fd00::1": 0}}, "sources are not checked, 0 invalid"},
		{nft.Dropped{Spoofed: map[string]uint64{a.Identity(): 0}, OtherLink: map[string]uint64{"10.88.0.1": 1, "fd00::1": 2, "10.88.0.2": 9}, Invalid: map[string]uint64{"10.88.0.1": 0}}, "0 spoofed, 0 invalid, 3 by other links"},
		{nft.Dropped{Spoofed: map[string]uint64{a.Identity(): 0}}, "0 spoofed, invalid packets are not dropped"},
	} {
		if got := PodDroppedOf(a, x.dropped).String(); got != x.want {
			t.Errorf("got %q, want %q", got, x.want)
		}
	}
}
