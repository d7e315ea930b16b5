package natlog

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

var (
	egress  = netip.MustParseAddr("192.0.2.1")
	egress6 = netip.MustParseAddr("2001:db8::1")
	epoch   = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
)

// traffic generates the records of a node with 50 pods. A quarter of the flows is DNS, the
// others are TCP to destinations of a Zipf distribution; an eighth is IPv6. Durations,
// packets and bytes are log-normal, egress ports are random.
type traffic struct {
	*rand.Rand
	now    time.Time
	every  time.Duration // mean time between two flows that begin
	zipf   *rand.Zipf
	owners []Owner
	open   ends
	begun  time.Time // begin of the next flow
}

// destinations is the number of servers.
const destinations = 20_000

func newTraffic(seed uint64, flowsPerSecond float64) *traffic {
	r := rand.New(rand.NewPCG(seed, 1))
	t := &traffic{Rand: r, now: epoch, begun: epoch, every: time.Duration(float64(time.Second) / flowsPerSecond)}
	t.zipf = rand.NewZipf(r, 1.1, 4, destinations-1)
	for i := range 50 {
		id := ""
		for range 8 {
			id += fmt.Sprintf("%08x", r.Uint32())
		}
		t.owners = append(t.owners, Owner{
			masq.Key{Network: "pods", ContainerID: id, Interface: "eth0"},
			masq.Pod{
				Namespace: fmt.Sprintf("team-%d", i%7), Name: fmt.Sprintf("service-%d-%08x-%05x", i%20, r.Uint32(), r.Uint32()>>12),
				UID: fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", r.Uint32(), r.Uint32()>>16, r.Uint32()>>20, r.Uint32()>>16, r.Uint64()>>16),
			},
		})
	}
	return t
}

type ends []Record

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].Time.Before(e[j].Time) }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, *x.(*Record)) }
func (e *ends) Pop() any          { x := &(*e)[len(*e)-1]; *e = (*e)[:len(*e)-1]; return x }

func (t *traffic) logNormal(median, sigma float64) float64 {
	return median * math.Exp(t.NormFloat64()*sigma)
}

// next sets r to the next record.
func (t *traffic) next(r *Record) {
	if len(t.open) != 0 && t.open[0].Time.Before(t.begun) {
		*r = *heap.Pop(&t.open).(*Record)
		t.now = r.Time
		return
	}
	t.now = t.begun
	t.begun = t.begun.Add(time.Duration(t.ExpFloat64() * float64(t.every)))
	pod := t.IntN(len(t.owners))
	*r = Record{Time: t.now, Kind: Begin, Owner: t.owners[pod], Proto: 6}
	server, port := uint32(t.zipf.Uint64()), uint16(443)
	life := t.logNormal(3, 1.6)
	packets := [2]float64{t.logNormal(9, .8), t.logNormal(9, 1)}
	sizes := [2]float64{t.logNormal(130, .6), t.logNormal(500, .7)}
	switch x := t.IntN(20); {
	case x < 5:
		r.Proto, server, port = 17, server%2, 53
		life = 30 + t.Float64()*3
		packets, sizes = [2]float64{1, 1}, [2]float64{70 + 8*t.NormFloat64(), t.logNormal(130, .4)}
	case x < 7:
		port = 80
		fallthrough
	default:
		life += 120 * t.Float64() // conntrack entries outlive connections that are not reset
	}
	source, out := netip.AddrFrom4([4]byte{10, 88, 0, byte(pod + 2)}), egress
	server = server*2654435761 | 1<<24 // spread over the address space
	to := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, server)))
	if t.IntN(8) == 0 {
		source, out = netip.AddrFrom16([16]byte{0xfd, 15: byte(pod + 2)}), egress6
		b := [16]byte{0x20, 0x01, 0x0d, 0xb9}
		binary.BigEndian.PutUint32(b[12:], server)
		to = netip.AddrFrom16(b)
	}
	server6 := netip.AddrPortFrom(to, port)
	r.Original = Tuple{netip.AddrPortFrom(source, uint16(32768+t.IntN(28232))), server6}
	r.Translated = Tuple{netip.AddrPortFrom(out, uint16(1024+t.IntN(64512))), server6}

	end := *r
	end.Kind = End
	end.Duration = time.Duration(life * float64(time.Second))
	end.Time = r.Time.Add(end.Duration)
	for i := range 2 {
		end.Packets[i] = uint64(max(packets[i], 1))
		end.Bytes[i] = uint64(max(packets[i], 1) * max(sizes[i], 40))
	}
	heap.Push(&t.open, &end)
}
