package screen

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// manyFlows returns n translated flows of a thousand pods, in a random order like the
// conntrack table.
func manyFlows(n int) []conntrack.Flow {
	all := make([]conntrack.Flow, n)
	for i := range all {
		k := uint32(i) * 2654435761 // Knuth's multiplicative hash
		var src, dst [4]byte
		binary.BigEndian.PutUint32(src[:], 0x0a580000|k>>22)
		binary.BigEndian.PutUint32(dst[:], 0xc6336400|k&0xff)
		o := conntrack.Tuple{Proto: unix.IPPROTO_TCP, Src: netip.AddrFrom4(src), SrcPort: uint16(1024 + i%60000), Dst: netip.AddrFrom4(dst), DstPort: 443}
		all[i] = conntrack.Flow{
			Original: o, Reply: conntrack.Tuple{Proto: o.Proto, Src: o.Dst, SrcPort: 443, Dst: netip.AddrFrom4([4]byte{192, 0, 2, 2}), DstPort: uint16(1024 + i%60000)},
			Status: conntrack.Confirmed | conntrack.SeenReply | conntrack.Assured | conntrack.SrcNAT | conntrack.SrcNATDone, State: conntrack.TCPEstablished,
			Fields: conntrack.HasState | conntrack.HasCounters | conntrack.HasTimeout, Timeout: time.Duration(i%1000) * time.Second,
			OriginalCounters: conntrack.Counters{Packets: uint64(k), Bytes: uint64(k) * 100}, ID: uint32(i),
		}
	}
	return all
}

// BenchmarkWatchFlows measures the first screen of inspect flows --watch without the dump of
// the table. It sorts by bytes, by bytes that are all zero, and by a column in which each
// flow comes before all earlier flows.
func BenchmarkWatchFlows(b *testing.B) {
	flows := manyFlows(240_000)
	owners := report.OwnersOf(nil)
	columns := report.VisibleColumns(report.FlowColumns(), report.Style{Wide: true})
	uncounted := manyFlows(len(flows))
	for i := range uncounted {
		uncounted[i].OriginalCounters = conntrack.Counters{}
	}
	column := func(name string) int {
		for i, c := range columns {
			if c.Name == name {
				return i
			}
		}
		b.Fatalf("there is no column %s", name)
		return 0
	}
	for _, tt := range []struct {
		name  string
		flows []conntrack.Flow
		by    order
	}{
		{"bytes", flows, order{column: column("BYTES")}},
		{"uncounted", uncounted, order{column: column("BYTES")}},
		{"ascending", flows, order{column: column("MARK"), reverse: true}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			s := Source[report.Flow]{Name: "flows", Columns: columns, Tie: report.CompareFlows}
			s.Read = func(_ context.Context, add func(report.Flow)) (Remarks, error) {
				now := time.Now()
				for i := range tt.flows {
					f := report.FlowOf(&tt.flows[i], owners.Find(tt.flows[i].Original.Src), nil, now)
					if tt.name == "ascending" {
						f.Mark = uint32(len(tt.flows) - i)
					}
					add(f)
				}
				return Remarks{}, nil
			}
			for b.Loop() {
				if g := read(b.Context(), s, tt.by); g.seen != len(tt.flows) {
					b.Fatal(g.seen)
				}
			}
		})
	}
}
