package inspect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Whatever is chosen by which flag: before translation or after, address and port
// together.
func TestChoice(t *testing.T) {
	f := conntrack.Flow{
		Original: conntrack.Tuple{Src: netip.MustParseAddr("10.88.0.2"), Dst: netip.MustParseAddr("192.0.2.2"), SrcPort: 40000, DstPort: 80, Proto: unix.IPPROTO_TCP},
		Reply:    conntrack.Tuple{Src: netip.MustParseAddr("10.88.0.3"), Dst: netip.MustParseAddr("192.0.2.2"), SrcPort: 8080, DstPort: 20000, Proto: unix.IPPROTO_TCP},
		Status:   conntrack.SrcNAT | conntrack.DstNAT, State: conntrack.TCPEstablished, Fields: conntrack.HasState,
	}
	for flags, want := range map[string]bool{
		"":                                           true,
		"--src 10.88.0.2":                            true,
		"--src 10.88.0.0/24 --sport 40000":           true,
		"--src 192.0.2.2 --sport 20000":              true,
		"--src 192.0.2.2 --sport 40000":              false,
		"--src 10.88.0.2 --sport 20000-30000":        false,
		"--dst 192.0.2.2 --dport 80":                 true,
		"--dst 10.88.0.3 --dport 8000-9000":          true,
		"--dst 10.88.0.3 --dport 80":                 false,
		"--src ::ffff:10.88.0.2":                     true,
		"--src 10.88.0.3":                            false,
		"--proto TCP --state ESTABLISHED":            true,
		"--state time_wait":                          false,
		"--proto udp":                                false,
		"--nat snat":                                 true,
		"--nat dnat":                                 true,
		"--nat none":                                 false,
		"--src 2001:db8::/32":                        false,
		"--dst 192.0.2.2 --src 10.88.0.2 --nat snat": true,
	} {
		var x choice
		c := &cobra.Command{}
		x.flags(c, &node.Node{})
		if err := c.ParseFlags(strings.Fields(flags)); err != nil {
			t.Fatal(err)
		}
		if err := x.parse(); err != nil {
			t.Errorf("%s: %v", flags, err)
			continue
		}
		queries, err := x.queries(node.Snapshot{})
		if err != nil {
			t.Fatal(err)
		}
		got := slices.ContainsFunc(queries, func(q node.Query) bool { return q.Match(&f) && (q.Except == nil || !q.Except(&f)) }) && x.match(&f)
		if got != want {
			t.Errorf("%q: %t", flags, got)
		}
	}
}

// The queries of an attachment choose its flows, each once, whatever else there is.
func TestQueriesChooseOnce(t *testing.T) {
	var v node.Snapshot
	var addrs []netip.Addr
	for i := range 20 {
		r := store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "net", ContainerID: fmt.Sprint("c", i), Interface: "eth0"}}}
		r.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 88, 0, byte(i)}), netip.MustParseAddr(fmt.Sprintf("fd00::%d", i))}
		if i == 7 {
			r.Addresses = append(r.Addresses, netip.MustParseAddr("10.88.1.7"))
		}
		addrs = append(addrs, r.Addresses...)
		v.Records = append(v.Records, r)
	}
	addrs = append(addrs, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
	v.Owners = report.OwnersOf(v.Records)
	for _, base := range []conntrack.Filter{{}, {Family: masq.IPv4}, {Family: masq.IPv6}} {
		for _, of := range [][]int{{0}, {7}, {3, 4}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}} {
			queries := queries(v, of, base)
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
					if (slices.Contains(of, v.Owners.Index(from)) || slices.Contains(of, v.Owners.Index(to))) && base.Match(&f) {
						want = 1
					}
					if times != want {
						t.Fatalf("%v of %+v: %s > %s comes %d times, not %d", of, base, from, to, times, want)
					}
				}
			}
		}
	}
}
