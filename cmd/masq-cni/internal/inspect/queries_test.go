package inspect

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestQueriesSelectOnce checks that exactly one query selects each flow of an attachment,
// and none any other flow.
func TestQueriesSelectOnce(t *testing.T) {
	var snapshot node.Snapshot
	var addrs []netip.Addr
	for i := range 20 {
		r := store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "net", ContainerID: fmt.Sprint("c", i), Interface: "eth0"}}}
		r.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 88, 0, byte(i)}), netip.MustParseAddr(fmt.Sprintf("fd00::%d", i))}
		if i == 7 {
			r.Addresses = append(r.Addresses, netip.MustParseAddr("10.88.1.7"))
		}
		addrs = append(addrs, r.Addresses...)
		snapshot.Records = append(snapshot.Records, r)
	}
	addrs = append(addrs, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
	snapshot.Owners = report.OwnersOf(snapshot.Records)
	for _, base := range []conntrack.Filter{{}, {Family: masq.IPv4}, {Family: masq.IPv6}} {
		for _, of := range [][]int{{0}, {7}, {3, 4}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}} {
			queries := queriesOf(snapshot, of, base)
			for _, from := range addrs {
				for _, to := range addrs {
					if from.Is4() != to.Is4() {
						continue
					}
					f := conntrack.Flow{Original: conntrack.Tuple{Src: from, Dst: to}, Reply: conntrack.Tuple{Src: to, Dst: from}}
					times := 0
					for _, q := range queries {
						if q.Match(&f) && (q.Except == nil || !q.Except(&f)) {
							times++
						}
					}
					want := 0
					if (slices.Contains(of, snapshot.Owners.Index(from)) || slices.Contains(of, snapshot.Owners.Index(to))) && base.Match(&f) {
						want = 1
					}
					if times != want {
						t.Fatalf("attachments %v, base %+v: %d queries select %s > %s, want %d", of, base, times, from, to, want)
					}
				}
			}
		}
	}
}
