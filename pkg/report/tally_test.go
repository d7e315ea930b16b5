package report

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// TestTally compares the tally of random flows with counts by name.
func TestTally(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	owners := OwnersOf(records())
	some := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 88, 0, byte(rnd.IntN(8))}) }
	sum := NewTally(owners)
	states := map[[2]string]int{}
	egress := map[netip.Addr]int{}
	helpers := map[string]int{}
	by := make([]Count, owners.Len())
	var translated, owned int
	for range 20_000 {
		f := conntrack.Flow{
			Original: conntrack.Tuple{Src: some(), Dst: some(), Proto: []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, 50}[rnd.IntN(4)]},
			Reply:    conntrack.Tuple{Src: some(), Dst: some()},
			Status:   conntrack.Status(rnd.Uint32() & 0xffff),
		}
		if rnd.IntN(2) == 0 {
			f.Fields = conntrack.HasState | conntrack.HasCounters
			f.State = conntrack.State(rnd.IntN(300))
			f.OriginalCounters = conntrack.Counters{Packets: rnd.Uint64N(9), Bytes: rnd.Uint64N(9)}
			f.ReplyCounters = conntrack.Counters{Packets: rnd.Uint64N(9), Bytes: rnd.Uint64N(9)}
		}
		if rnd.IntN(9) == 0 {
			copy(f.Helper[:], "ftp")
			helpers["ftp"]++
		}
		sum.Add(&f)
		states[[2]string{Protocol(f.Original.Proto), State(&f)}]++
		if f.Translated() {
			translated++
			egress[f.Reply.Dst]++
		}
		from, to := owners.Find(f.Original.Src), owners.Find(f.Reply.Src)
		if from != nil || to != nil {
			owned++
		}
		for i := range by {
			if owners.At(i) == from {
				by[i].Flows++
				if f.Translated() {
					by[i].Translated++
					by[i].TranslatedBytes += f.OriginalCounters.Bytes + f.ReplyCounters.Bytes
				}
				by[i].Packets.Original += f.OriginalCounters.Packets
				by[i].Packets.Reply += f.ReplyCounters.Packets
				by[i].Bytes.Original += f.OriginalCounters.Bytes
				by[i].Bytes.Reply += f.ReplyCounters.Bytes
			}
			if owners.At(i) == to {
				by[i].Incoming++
			}
		}
	}
	if sum.Flows != 20_000 || sum.Translated != translated || sum.Owned != owned || !sum.Counted || sum.Timed {
		t.Errorf("%+v; translated %d, owned %d", sum, translated, owned)
	}
	if !reflect.DeepEqual(sum.ByOwner, by) {
		t.Errorf("%+v\n%+v", sum.ByOwner, by)
	}
	got := map[[2]string]int{}
	for _, s := range sum.States() {
		got[[2]string{s.Protocol, s.State}] = s.Flows
	}
	if !reflect.DeepEqual(got, states) {
		t.Errorf("%v\n%v", got, states)
	}
	left := map[netip.Addr]int{}
	for _, e := range sum.Egress() {
		left[e.Address] = e.Flows
	}
	if !reflect.DeepEqual(left, egress) {
		t.Errorf("%v\n%v", left, egress)
	}
	if h := sum.Helpers(); len(h) != 1 || h[0] != (HelperCount{"ftp", helpers["ftp"]}) {
		t.Errorf("%v, %v", h, helpers)
	}
}

// TestTallyOfManyEgressAddresses: the number of counted addresses is limited, and all flows
// are counted.
func TestTallyOfManyEgressAddresses(t *testing.T) {
	sum := NewTally(OwnersOf(nil))
	const n = 1000
	for i := range n {
		f := conntrack.Flow{Status: conntrack.SrcNAT, Reply: conntrack.Tuple{Dst: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}}
		sum.Add(&f)
	}
	all := sum.Egress()
	total := 0
	for _, e := range all {
		total += e.Flows
	}
	if len(all) != maxEgressAddresses+1 || total != n || all[maxEgressAddresses].Address.IsValid() {
		t.Errorf("got %d addresses and %d flows", len(all), total)
	}
}
