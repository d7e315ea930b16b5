package natlog

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"time"
)

// Query selects flows. A zero field other than Addr matches every flow.
type Query struct {
	// Addr is the egress address and port, as the remote host saw them. The port of an
	// ICMP flow is its identifier, the port of a protocol without ports is 0.
	Addr  netip.AddrPort
	Proto uint8 // IP protocol number
	// To is the destination, either the one that the container used or the one after
	// destination translation (DNAT); port 0 matches every port.
	To netip.AddrPort
	// From and Until bound the time, both inclusive, with millisecond resolution.
	From, Until time.Time
}

// window returns From and Until in milliseconds since 1970.
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

// matches reports whether a flow's destination is To. findRows has compared the other fields.
func (q *Query) matches(w *row) bool {
	to := func(a netip.AddrPort) bool {
		return q.To.Addr() == a.Addr() && (q.To.Port() == 0 || q.To.Port() == a.Port())
	}
	return !q.To.Addr().IsValid() || to(w.original.Dst) || to(w.translated.Dst)
}

// findRows appends the indices of the rows of a block that have the query's egress address,
// port and protocol, and of all gaps.
func (d *decoder) findRows(q *Query, out []int) ([]int, error) {
	out = findPort(d.bufs[colPort][:2*d.head.count], q.Addr.Port(), out)
	if len(out) == 0 && d.head.flags&flagGaps == 0 {
		return out, nil
	}
	if err := d.loadClasses(); err != nil {
		return nil, err
	}
	d.matching = d.matching[:0]
	for _, c := range d.classes {
		d.matching = append(d.matching, c.kind == Gap || c.egress == q.Addr.Addr() && (q.Proto == 0 || c.proto == q.Proto))
	}
	out = out[:0]
	for i, c := range d.classOf {
		if d.matching[c] && (d.classes[c].kind == Gap || d.port(i) == q.Addr.Port()) {
			out = append(out, i)
		}
	}
	return out, nil
}

// findPort appends the index of each 16-bit number that equals port. It compares four
// numbers at a time.
func findPort(b []byte, port uint16, out []int) []int {
	const ones = 0x0001_0001_0001_0001
	want := uint64(port) * ones
	i := 0
	for ; len(b) >= 8; b, i = b[8:], i+4 {
		x := binary.LittleEndian.Uint64(b) ^ want
		// Subtracting 1 borrows in a lane that is zero. A lane above a zero lane may be a
		// false match, so each match is checked.
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
