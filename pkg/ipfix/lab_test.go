package ipfix

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/natlog"
)

// reading decodes messages as a collector does, by the templates it receives.
type reading struct {
	mu         sync.Mutex
	templates  map[uint16][][2]uint16 // ID and length of each field
	scope      map[uint16]uint16      // number of scope fields of options templates
	records    []map[uint16][]byte    // data records
	statistics []map[uint16][]byte    // statistics
	sequence   uint32
	sizes      []int
	sets       map[uint16]int
	err        error
}

func newReading() *reading {
	return &reading{templates: map[uint16][][2]uint16{}, scope: map[uint16]uint16{}, sets: map[uint16]int{}}
}

// message decodes a message and checks it against RFC 7011.
func (r *reading) message(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = r.read(b)
	}
}

func (r *reading) read(b []byte) error {
	r.sizes = append(r.sizes, len(b))
	if v, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:])); v != 10 || n != len(b) {
		return fmt.Errorf("version %d, length %d, want version 10 and %d bytes", v, n, len(b))
	}
	if at := time.Unix(int64(binary.BigEndian.Uint32(b[4:])), 0); time.Since(at).Abs() > time.Minute {
		return fmt.Errorf("export time %s is not now", at)
	}
	if n := binary.BigEndian.Uint32(b[8:]); n != r.sequence {
		return fmt.Errorf("sequence number %d after %d records", n, r.sequence)
	}
	if d := binary.BigEndian.Uint32(b[12:]); d != 1 {
		return fmt.Errorf("observation domain %d", d)
	}
	for b = b[16:]; len(b) > 0; {
		id, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if n < 4 || n > len(b) {
			return fmt.Errorf("set %d has %d bytes, %d are left", id, n, len(b))
		}
		set := b[4:n]
		b = b[n:]
		r.sets[id]++
		if id == 2 || id == 3 {
			for len(set) > 0 {
				set = r.template(set, id == 3)
			}
			continue
		}
		for len(set) > 0 {
			rest, err := r.record(id, set)
			if err != nil {
				return err
			}
			set = rest
		}
	}
	return nil
}

func (r *reading) template(b []byte, options bool) (rest []byte) {
	id, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
	b = b[4:]
	if options {
		r.scope[id], b = binary.BigEndian.Uint16(b), b[2:]
	}
	fields := make([][2]uint16, n)
	for i := range fields {
		fields[i] = [2]uint16{binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])}
		b = b[4:]
	}
	r.templates[id] = fields
	return b
}

func (r *reading) record(id uint16, b []byte) (rest []byte, err error) {
	fields, known := r.templates[id]
	if !known {
		return nil, fmt.Errorf("template %d was not sent", id)
	}
	out := map[uint16][]byte{}
	for _, f := range fields {
		n := int(f[1])
		if n == 65535 {
			if n, b = int(b[0]), b[1:]; n == 255 {
				n, b = int(binary.BigEndian.Uint16(b)), b[2:]
			}
		}
		if n > len(b) {
			return nil, fmt.Errorf("element %d has %d bytes, %d are left", f[0], n, len(b))
		}
		out[f[0]], b = append([]byte{}, b[:n]...), b[n:]
	}
	r.sequence++
	if id == statistics.id {
		r.statistics = append(r.statistics, out)
	} else {
		r.records = append(r.records, out)
	}
	return b, nil
}

func (r *reading) count(t testing.TB) int {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		t.Fatal(r.err)
	}
	return len(r.records)
}

// lost returns the number of lost records according to the latest statistics.
func (r *reading) lost() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.statistics) == 0 {
		return 0
	}
	return binary.BigEndian.Uint64(r.statistics[len(r.statistics)-1][166])
}

// stream reads the messages of a TCP connection.
func (r *reading) stream(c io.Reader) {
	var head [4]byte
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		m := make([]byte, binary.BigEndian.Uint16(head[2:]))
		copy(m, head[:])
		if _, err := io.ReadFull(c, m[4:]); err != nil {
			return
		}
		r.message(m)
	}
}

// udp is a collector on a loopback address. Port 0 means any port.
func udp(t testing.TB, at string) (*net.UDPConn, *reading) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	r := newReading()
	go func() {
		b := make([]byte, 1<<16)
		from := netip.AddrPort{}
		for {
			n, a, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if a != from { // a new session (RFC 7011, 2)
				from = a
				r.mu.Lock()
				r.sequence = 0
				r.mu.Unlock()
			}
			r.message(b[:n])
		}
	}()
	return c, r
}

func open(t testing.TB, at string, more Options) *Exporter {
	t.Helper()
	var err error
	if more.Collector, err = ParseCollector(at); err != nil {
		t.Fatal(err)
	}
	x, err := Open(t.Context(), more)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

func port(a net.Addr) string {
	_, p, err := net.SplitHostPort(a.String())
	if err != nil {
		panic(err) // a listener has a port
	}
	return p
}

// event returns the n-th record of a test.
func event(n int) *natlog.Record {
	server := netip.MustParseAddrPort("198.51.100.7:443")
	return &natlog.Record{
		Time: time.UnixMilli(1_700_000_000_000 + int64(n)), Kind: natlog.Begin + natlog.Kind(n%2), Proto: 6,
		Owner:      natlog.Owner{Key: masq.Key{Network: "pods", ContainerID: "4f5e", Interface: "eth0"}, Pod: masq.Pod{Namespace: "shop", Name: "cart-0"}},
		Original:   natlog.Tuple{Src: netip.AddrPortFrom(netip.MustParseAddr("10.88.0.5"), uint16(n)), Dst: server},
		Translated: natlog.Tuple{Src: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(n+1)), Dst: server},
	}
}
