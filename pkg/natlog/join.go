package natlog

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// candidate is a record with the egress address and port that was asked for.
type candidate struct {
	row    // its kind, protocol and times; the rest only where it is whole
	whole  bool
	joined bool   // with its begin or its end
	source uint16 // the port of the original source
	block  *ref
	at     int
	order  int // in the log, whatever the clock did
	// stretch is the number of the one that it is in.
	stretch int
}

// ports tell flows apart that leave by one egress address and port, mostly.
type ports struct {
	proto  uint8
	source uint16
}

func (c *candidate) ports() ports { return ports{c.proto, c.source} }

// ageless reports whether an end does not say when its flow began.
func (c *candidate) ageless() bool { return c.kind == End && c.began == c.time }

// joining finds which end belongs to which begin. The log is searched from its first
// block to its last: a flow that lives may have begun in any, and one that lived may
// end in any. Times and ports, which are cheap to read, mostly tell the two that belong
// together; tuples are read of what is shown, and where times and ports leave a doubt.
type joining struct {
	query        Query
	from, until  int64
	begins, ends []*candidate // in the order of the log
	gaps         []*candidate
	byPorts      map[ports][]*candidate // begins
	byBlock      map[*ref][]*candidate
	stretches    []stretch
	taken        int
	decoder      *decoder // for single ones
}

// slack is how far, in milliseconds, the begin that an end tells may be from the time
// of its begin's record: one is the kernel's, the other may be that of the arrival.
const slack = 2000

// collected is what a block has.
type collected struct {
	candidates []candidate
	stretches  []stretch
	unread     *ref // if the stretch is what its header says
}

// collect runs on several threads.
func (j *joining) collect(d *decoder, b *ref) (out collected, err error) {
	if err := d.open(b, b.off, b.size); err != nil {
		return out, b.fail(err)
	}
	found, err := d.find(&j.query, d.found[:0])
	if err != nil {
		return out, b.fail(err)
	}
	d.found = found
	if len(found) == 0 { // no gaps either
		return collected{stretches: []stretch{{first: b.first, last: b.last}}, unread: b}, nil
	}
	if err := d.loadTimes(); err != nil {
		return out, b.fail(err)
	}
	out.stretches = d.stretches()
	out.candidates = make([]candidate, 0, len(found))
	for _, i := range found {
		class := d.classes[d.classOf[i]]
		c := candidate{block: b, at: i, row: row{kind: class.kind, proto: class.proto, time: d.times[i], began: d.begans[i]}}
		if class.kind == Gap || class.kind == End && j.within(&c.row) {
			if err := d.loadAll(); err != nil {
				return out, b.fail(err)
			}
			d.row(i, &c.row)
			c.whole = true
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

// within reports whether what a record tells reaches into the time asked for. An end
// without an age may have begun at any time.
func (j *joining) within(w *row) bool {
	return w.time >= j.from && (w.began <= j.until || w.kind == End && w.began == w.time)
}

func (j *joining) take(x *collected) error {
	if n := len(j.stretches); x.unread != nil && n > 0 && x.stretches[0].first < j.stretches[n-1].last-slack {
		// The clock was set back, maybe within.
		d := j.decoder
		if err := d.open(x.unread, x.unread.off, x.unread.size); err != nil {
			return x.unread.fail(err)
		}
		if err := d.loadTimes(); err != nil {
			return x.unread.fail(err)
		}
		x.stretches = d.stretches()
	}
	var first int
	j.stretches, first = goOn(j.stretches, x.stretches)
	for i := range x.candidates {
		c := &x.candidates[i]
		c.stretch = first
		for k := 1; k < len(x.stretches) && x.stretches[k].at <= c.at; k++ {
			c.stretch = first + k
		}
		j.add(c)
	}
	return nil
}

func (j *joining) add(c *candidate) {
	c.order = j.taken
	j.taken++
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

// read makes a candidate whole, and with it all of its block: no block is unpacked
// twice.
func (j *joining) read(c *candidate) error {
	if c.whole {
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
		if !x.whole {
			d.row(x.at, &x.row)
			x.whole = true
		}
	}
	return nil
}

func (j *joining) same(a, b *candidate) (bool, error) {
	if err := j.read(a); err != nil {
		return false, err
	}
	if err := j.read(b); err != nil {
		return false, err
	}
	return a.original == b.original && a.translated == b.translated, nil
}

// beginOf finds the begin that an end belongs to, nil where the log has none.
func (j *joining) beginOf(e *candidate) (*candidate, error) {
	var found []*candidate
	for _, b := range j.byPorts[e.ports()] {
		if !b.joined && b.order < e.order && (e.ageless() || distance(b, e) <= slack) {
			found = append(found, b)
		}
	}
	if len(found) == 1 && (!e.ageless() || !j.within(&e.row) && found[0].stretch == e.stretch) {
		return found[0], nil
	}
	if !e.ageless() {
		slices.SortStableFunc(found, func(x, y *candidate) int { return cmp.Compare(distance(y, e), distance(x, e)) })
	}
	for _, b := range slices.Backward(found) {
		if same, err := j.same(b, e); same || err != nil {
			return b, err
		}
	}
	return nil, nil
}

func distance(b, e *candidate) int64 { return max(b.time-e.began, e.began-b.time) }

// end joins an end with its begin.
func (j *joining) end(a *Answer, e *candidate) error {
	b, err := j.beginOf(e)
	if err != nil {
		return err
	}
	known := !e.ageless()
	there := j.within(&e.row)
	if b != nil {
		b.joined, e.joined = true, true
		if !known {
			e.began, known = b.time, true
		}
		there = j.lived(e.began, b.stretch, e.time, e.stretch)
	}
	if !there {
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

// unended is for a begin whose end was not found by its times.
func (j *joining) unended(a *Answer, b *candidate) error {
	if err := j.read(b); err != nil || !j.query.matches(&b.row) {
		return err
	}
	// The clock was set in between: the order in the log tells.
	for _, e := range j.ends {
		if e.joined || e.order < b.order || e.ports() != b.ports() {
			continue
		}
		same, err := j.same(b, e)
		if err != nil {
			return err
		}
		if same {
			e.joined = true
			return nil
		}
	}
	f := flowOf(&b.row)
	// A later flow with the same translation proves that this one is over.
	for _, later := range a.Flows {
		if later.Proto == f.Proto && later.Translated == f.Translated && later.Begin.After(f.Begin) {
			return nil
		}
	}
	f.Uncertain = slices.ContainsFunc(j.gaps, func(g *candidate) bool { return g.order > b.order })
	a.Flows = append(a.Flows, f)
	return nil
}

func (j *joining) answer() (*Answer, error) {
	a := &Answer{}
	for _, g := range j.gaps {
		if j.within(&g.row) {
			var r Record
			g.record(&r)
			a.Gaps = append(a.Gaps, r)
		}
	}
	// Ends that tell when they began take what is certainly theirs before others do.
	for _, ageless := range [...]bool{false, true} {
		for _, e := range j.ends {
			if e.ageless() == ageless && !e.joined {
				if err := j.end(a, e); err != nil {
					return a, err
				}
			}
		}
	}
	for _, b := range slices.Backward(j.begins) {
		if !b.joined && j.lived(b.time, b.stretch, math.MaxInt64, len(j.stretches)-1) {
			if err := j.unended(a, b); err != nil {
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
