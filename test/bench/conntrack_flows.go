package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/natlog"
)

// logTraffic is the traffic of a node with 50 pods, as in the benchmarks of pkg/natlog: a quarter is
// DNS, the rest is TCP to destinations of a Zipf distribution, an eighth of all is IPv6. Durations,
// packets and bytes are log-normal, egress ports are random.
type logTraffic struct {
	*rand.Rand
	every  time.Duration // mean time between the begins of two flows
	zipf   *rand.Zipf
	owners []natlog.Owner
	open   ends
	begun  time.Time // begin of the next flow
}

func newLogTraffic(flowsPerSecond float64) *logTraffic {
	r := rand.New(rand.NewPCG(1, 1))
	t := &logTraffic{Rand: r, begun: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), every: time.Duration(float64(time.Second) / flowsPerSecond)}
	const servers = 20_000
	t.zipf = rand.NewZipf(r, 1.1, 4, servers-1)
	for i := range 50 {
		t.owners = append(t.owners, natlog.Owner{
			Key: masq.Key{Network: "pods", ContainerID: fmt.Sprintf("%016x%016x%016x%016x", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()), Interface: "eth0"},
			Pod: masq.Pod{
				Namespace: fmt.Sprintf("team-%d", i%7), Name: fmt.Sprintf("service-%d-%08x-%05x", i%20, r.Uint32(), r.Uint32()>>12),
				UID: fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", r.Uint32(), r.Uint32()>>16, r.Uint32()>>20, r.Uint32()>>16, r.Uint64()>>16),
			},
		})
	}
	return t
}

// ends are the records of the ends of open flows, the earliest first.
type ends []natlog.Record

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].Time.Before(e[j].Time) }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(natlog.Record)) }
func (e *ends) Pop() any          { x := (*e)[len(*e)-1]; *e = (*e)[:len(*e)-1]; return x }

func (t *logTraffic) logNormal(median, sigma float64) float64 {
	return median * math.Exp(t.NormFloat64()*sigma)
}

// flow returns the records of the begin and the end of the next flow.
func (t *logTraffic) flow() (begin, end natlog.Record) {
	pod := t.IntN(len(t.owners))
	begin = natlog.Record{Time: t.begun, Kind: natlog.Begin, Owner: t.owners[pod], Proto: unix.IPPROTO_TCP}
	t.begun = t.begun.Add(time.Duration(t.ExpFloat64() * float64(t.every)))
	server, port := uint32(t.zipf.Uint64()), uint16(443)
	life := t.logNormal(3, 1.6) + 120*t.Float64() // the entry outlives the connection, unless the connection is reset
	packets := [2]float64{t.logNormal(9, .8), t.logNormal(9, 1)}
	sizes := [2]float64{t.logNormal(130, .6), t.logNormal(500, .7)}
	switch x := t.IntN(20); {
	case x < 5:
		begin.Proto, server, port = unix.IPPROTO_UDP, server%2, 53
		life = 30 + t.Float64()*3
		packets, sizes = [2]float64{1, 1}, [2]float64{70 + 8*t.NormFloat64(), t.logNormal(130, .4)}
	case x < 7:
		port = 80
	}
	source, out := netip.AddrFrom4([4]byte{10, 88, 0, byte(pod + 2)}), far4.Next()
	server = server*2654435761 | 1<<24 // spread over the address space
	to := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, server)))
	if t.IntN(8) == 0 {
		source, out = netip.AddrFrom16([16]byte{0xfd, 15: byte(pod + 2)}), far6.Next()
		b := [16]byte{0x20, 0x01, 0x0d, 0xb9}
		binary.BigEndian.PutUint32(b[12:], server)
		to = netip.AddrFrom16(b)
	}
	at := netip.AddrPortFrom(to, port)
	begin.Original = natlog.Tuple{Src: netip.AddrPortFrom(source, uint16(32768+t.IntN(28232))), Dst: at}
	begin.Translated = natlog.Tuple{Src: netip.AddrPortFrom(out, uint16(1024+t.IntN(64512))), Dst: at}

	end = begin
	end.Kind, end.Duration = natlog.End, time.Duration(life*float64(time.Second))
	end.Time = begin.Time.Add(end.Duration)
	for i := range 2 {
		end.Packets[i] = uint64(max(packets[i], 1))
		end.Bytes[i] = uint64(max(packets[i], 1) * max(sizes[i], 40))
	}
	return begin, end
}
