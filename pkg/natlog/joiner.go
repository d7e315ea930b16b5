package natlog

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// candidate is a record with the egress address and port of the query, or a gap.
type candidate struct {
	row          // only kind, protocol and times, unless it is decoded
	decoded      bool
	joined       bool   // its begin or its end is known
	source       uint16 // original source port
	block        *ref
	at           int // index in the block
	order        int // position in the log
	clockSegment int // index of its clock segment
}

// ports distinguishes most flows that have one egress address and port.
type ports struct {
	proto  uint8
	source uint16
}

func (c *candidate) ports() ports { return ports{c.proto, c.source} }

// beginUnknown reports whether the record is an end without a duration.
func (c *candidate) beginUnknown() bool { return c.kind == End && c.began == c.time }

// joiner joins the begins and ends of flows. Times and ports, which are cheap to read,
// usually suffice for that. Tuples are read for flows of the answer, and if several begins
// have the ports and about the time of an end.
type joiner struct {
	query         Query
	from, until   int64
	begins, ends  []*candidate // in the order of the log
	gaps          []*candidate
	byPorts       map[ports][]*candidate // begins
	byBlock       map[*ref][]*candidate
	clockSegments []clockSegment
	added         int      // number of candidates
	decoder       *decoder // for blocks that are read again
}

// maxClockSkew is the largest difference, in milliseconds, between the begin according to an
// end and the time of the begin's record. An end has the kernel's timestamp; a begin may have
// the time when masqd received the event.
const maxClockSkew = 2000

// blockMatches is the candidates and clock segments of a block.
type blockMatches struct {
	candidates    []candidate
	clockSegments []clockSegment
	unread        *ref // the block, if its clock segment follows from its header alone
}

// collect finds the candidates of a block. It runs on several goroutines.
func (j *joiner) collect(d *decoder, b *ref) (out blockMatches, err error) {
	if err := d.open(b, b.off, b.size); err != nil {
		return out, b.fail(err)
	}
	found, err := d.findRows(&j.query, d.found[:0])
	if err != nil {
		return out, b.fail(err)
	}
	d.found = found
	if len(found) == 0 { // and no gaps
		return blockMatches{clockSegments: []clockSegment{{first: b.first, last: b.last}}, unread: b}, nil
	}
	if err := d.loadTimes(); err != nil {
		return out, b.fail(err)
	}
	out.clockSegments = d.clockSegments()
	out.candidates = make([]candidate, 0, len(found))
	for _, i := range found {
		class := d.classes[d.classOf[i]]
		c := candidate{block: b, at: i, row: row{kind: class.kind, proto: class.proto, time: d.times[i], began: d.begans[i]}}
		if class.kind == Gap || class.kind == End && j.overlaps(&c.row) {
			if err := d.loadAll(); err != nil {
				return out, b.fail(err)
			}
			d.row(i, &c.row)
			c.decoded = true
		}
		if class.kind != Gap {
			if c.source, err = d.sourcePort(i); err != nil {
				return out, b.fail(err)
			}
		}
		out.candidates = append(out.candidates, c)
	}
	return out, nil
}

// overlaps reports whether the flow or gap of a record overlaps the query's time. If its
// begin is unknown, it may have begun at any time.
func (j *joiner) overlaps(w *row) bool {
	return w.time >= j.from && (w.began <= j.until || w.kind == End && w.began == w.time)
}

// addBlock adds the candidates of the next block.
func (j *joiner) addBlock(x *blockMatches) error {
	if n := len(j.clockSegments); x.unread != nil && n > 0 && x.clockSegments[0].first < j.clockSegments[n-1].last-maxClockSkew {
		// The clock was set back before or within this block.
		d := j.decoder
		if err := d.open(x.unread, x.unread.off, x.unread.size); err != nil {
			return x.unread.fail(err)
		}
		if err := d.loadTimes(); err != nil {
			return x.unread.fail(err)
		}
		x.clockSegments = d.clockSegments()
	}
	var first int
	j.clockSegments, first = mergeClockSegments(j.clockSegments, x.clockSegments)
	for i := range x.candidates {
		c := &x.candidates[i]
		c.clockSegment = first
		for k := 1; k < len(x.clockSegments) && x.clockSegments[k].at <= c.at; k++ {
			c.clockSegment = first + k
		}
		j.add(c)
	}
	return nil
}

func (j *joiner) add(c *candidate) {
	c.order = j.added
	j.added++
	j.byBlock[c.block] = append(j.byBlock[c.block], c)
	switch c.kind {
	case Begin:
		j.begins = append(j.begins, c)
		k := c.ports()
		j.byPorts[k] = append(j.byPorts[k], c)
	case End:
		j.ends = append(j.ends, c)
	case Gap:
		j.gaps = append(j.gaps, c)
	}
}

// read decodes a candidate, and all others of its block, so that no block is unpacked twice.
func (j *joiner) read(c *candidate) error {
	if c.decoded {
		return nil
	}
	d := j.decoder
	if err := d.open(c.block, c.block.off, c.block.size); err != nil {
		return c.block.fail(err)
	}
	if err := d.loadAll(); err != nil {
		return c.block.fail(err)
	}
	for _, x := range j.byBlock[c.block] {
		if !x.decoded {
			d.row(x.at, &x.row)
			x.decoded = true
		}
	}
	return nil
}

// sameFlow reports whether two candidates have the same tuples.
func (j *joiner) sameFlow(a, b *candidate) (bool, error) {
	if err := j.read(a); err != nil {
		return false, err
	}
	if err := j.read(b); err != nil {
		return false, err
	}
	return a.original == b.original && a.translated == b.translated, nil
}

// beginOf returns the begin of the flow that an end ends, or nil if the log does not have
// it.
func (j *joiner) beginOf(e *candidate) (*candidate, error) {
	var found []*candidate
	for _, b := range j.byPorts[e.ports()] {
		if !b.joined && b.order < e.order && (e.beginUnknown() || distance(b, e) <= maxClockSkew) {
			found = append(found, b)
		}
	}
	if len(found) == 1 && (!e.beginUnknown() || !j.overlaps(&e.row) && found[0].clockSegment == e.clockSegment) {
		return found[0], nil
	}
	if !e.beginUnknown() {
		slices.SortStableFunc(found, func(x, y *candidate) int { return cmp.Compare(distance(y, e), distance(x, e)) })
	}
	for _, b := range slices.Backward(found) {
		if same, err := j.sameFlow(b, e); same || err != nil {
			return b, err
		}
	}
	return nil, nil
}

// distance is the time between a begin and the begin according to an end.
func distance(b, e *candidate) int64 { return max(b.time-e.began, e.began-b.time) }

// joinEnd joins an end with its begin, and adds the flow to the answer if it matches.
func (j *joiner) joinEnd(a *Answer, e *candidate) error {
	b, err := j.beginOf(e)
	if err != nil {
		return err
	}
	known := !e.beginUnknown()
	matches := j.overlaps(&e.row)
	if b != nil {
		b.joined, e.joined = true, true
		if !known {
			e.began, known = b.time, true
		}
		matches = j.overlapsFlow(e.began, b.clockSegment, e.time, e.clockSegment)
	}
	if !matches {
		return nil
	}
	if err := j.read(e); err != nil || !j.query.matches(&e.row) {
		return err
	}
	f := flowOf(&e.row)
	f.End = time.UnixMilli(e.time)
	f.Begin = time.Time{}
	if known {
		f.Begin = time.UnixMilli(e.began)
	}
	f.Uncertain = !known && e.time > j.until
	a.Flows = append(a.Flows, f)
	return nil
}

// addOpen adds the flow of a begin to the answer, unless an end or a later flow shows that
// it is over.
func (j *joiner) addOpen(a *Answer, b *candidate) error {
	if err := j.read(b); err != nil || !j.query.matches(&b.row) {
		return err
	}
	// If the clock was set in between, only the order in the log relates the end to it.
	for _, e := range j.ends {
		if e.joined || e.order < b.order || e.ports() != b.ports() {
			continue
		}
		same, err := j.sameFlow(b, e)
		if err != nil {
			return err
		}
		if same {
			e.joined = true
			return nil
		}
	}
	f := flowOf(&b.row)
	// Two open flows cannot have the same translation.
	for _, later := range a.Flows {
		if later.Proto == f.Proto && later.Translated == f.Translated && later.Begin.After(f.Begin) {
			return nil
		}
	}
	f.Uncertain = slices.ContainsFunc(j.gaps, func(g *candidate) bool { return g.order > b.order })
	a.Flows = append(a.Flows, f)
	return nil
}

// answer joins all candidates.
func (j *joiner) answer() (*Answer, error) {
	a := &Answer{}
	for _, g := range j.gaps {
		if j.overlaps(&g.row) {
			var r Record
			g.record(&r)
			a.Gaps = append(a.Gaps, r)
		}
	}
	// Ends with a known begin are joined first, since their match is certain.
	for _, unknown := range [...]bool{false, true} {
		for _, e := range j.ends {
			if e.beginUnknown() == unknown && !e.joined {
				if err := j.joinEnd(a, e); err != nil {
					return a, err
				}
			}
		}
	}
	for _, b := range slices.Backward(j.begins) {
		if !b.joined && j.overlapsFlow(b.time, b.clockSegment, math.MaxInt64, len(j.clockSegments)-1) {
			if err := j.addOpen(a, b); err != nil {
				return a, err
			}
		}
	}
	slices.SortStableFunc(a.Flows, func(x, y Flow) int { return x.Begin.Compare(y.Begin) })
	return a, nil
}

func flowOf(w *row) Flow {
	return Flow{
		Owner: w.owner.Owner, Proto: w.proto, Original: w.original, Translated: w.translated,
		Begin: time.UnixMilli(w.began), Packets: w.packets, Bytes: w.bytes,
	}
}
