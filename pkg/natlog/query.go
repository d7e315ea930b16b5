package natlog

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"time"
)

// Query says which records and flows are meant. A zero field asks for nothing.
type Query struct {
	// Addr is the egress address and port, as the far end saw them, or the ID of ICMP.
	// Port 0 is that of protocols without ports.
	Addr  netip.AddrPort
	Proto uint8
	// To is the destination, before or behind the translation; port 0 is any.
	To netip.AddrPort
	// From and Until bound the time, both included, to the millisecond.
	From, Until time.Time
	// Owner: each field that is not empty has to be equal.
	Owner Owner
}

func (q *Query) window() (from, until int64) {
	from, until = math.MinInt64, math.MaxInt64
	if !q.From.IsZero() {
		from = q.From.UnixMilli()
	}
	if !q.Until.IsZero() {
		until = q.Until.UnixMilli()
	}
	return from, until
}

// matches looks at what find does not.
func (q *Query) matches(w *row) bool {
	if w.kind == Gap {
		return true
	}
	if q.To.Addr().IsValid() && !reaches(q.To, w.original.Dst) && !reaches(q.To, w.translated.Dst) {
		return false
	}
	want := q.Owner.strings()
	for i, s := range w.owner.strings() {
		if *want[i] != "" && *want[i] != *s {
			return false
		}
	}
	return true
}

func reaches(want, have netip.AddrPort) bool {
	return want.Addr() == have.Addr() && (want.Port() == 0 || want.Port() == have.Port())
}

// find appends the rows of a block that have the query's egress address, port and
// protocol, and the gaps.
func (d *decoder) find(q *Query, out []int) ([]int, error) {
	n := int(d.head.count)
	if q.Addr.IsValid() {
		out = findPort(d.bufs[colPort][:2*n], q.Addr.Port(), out)
		if len(out) == 0 && d.head.flags&flagGaps == 0 {
			return out, nil
		}
	}
	if err := d.loadClasses(); err != nil {
		return nil, err
	}
	d.wanted = d.wanted[:0]
	for _, c := range d.classes {
		d.wanted = append(d.wanted, c.kind == Gap ||
			(!q.Addr.IsValid() || c.egress == q.Addr.Addr()) && (q.Proto == 0 || c.proto == q.Proto))
	}
	if q.Addr.IsValid() && d.gaps == 0 {
		kept := out[:0]
		for _, i := range out {
			if d.wanted[d.classOf[i]] {
				kept = append(kept, i)
			}
		}
		return kept, nil
	}
	out = out[:0]
	for i, c := range d.classOf {
		if d.wanted[c] && (!q.Addr.IsValid() || d.classes[c].kind == Gap || d.port(i) == q.Addr.Port()) {
			out = append(out, i)
		}
	}
	return out, nil
}

// findPort appends the index of each 16-bit number that is the port, four at a time.
func findPort(b []byte, port uint16, out []int) []int {
	const ones = 0x0001_0001_0001_0001
	want := uint64(port) * ones
	i := 0
	for ; len(b) >= 8; b, i = b[8:], i+4 {
		x := binary.LittleEndian.Uint64(b) ^ want
		// A lane is zero where taking 1 from it borrows; a lane above a zero one may
		// seem so, too.
		for m := (x - ones) &^ x & (ones << 15); m != 0; m &= m - 1 {
			lane := bits.TrailingZeros64(m) / 16
			if uint16(x>>(16*lane)) == 0 {
				out = append(out, i+lane)
			}
		}
	}
	for ; len(b) >= 2; b, i = b[2:], i+1 {
		if binary.LittleEndian.Uint16(b) == port {
			out = append(out, i)
		}
	}
	return out
}
