package natlog

import (
	"context"
	"iter"
)

// Search gives the records that a query asks for, in the order in which they were
// appended: those of Begin and End whose Time is within its bounds, and the gaps that
// reach into them, whatever else is asked for, since anything may be missing there. A
// record is good until the next one.
//
// An error is no end: what a file has that cannot be read is missing, and the rest is
// there. Only that of the context, or of a directory that cannot be read, is the last.
func Search(ctx context.Context, dir string, q Query) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		v, err := openView(dir)
		if err != nil {
			yield(nil, err)
			return
		}
		defer v.close()
		for _, err := range v.errs {
			if !yield(nil, err) {
				return
			}
		}
		from, until := q.window()
		var blocks []ref
		for _, b := range v.blocks {
			// A gap begins before its time, so began is the earliest of all.
			if b.last >= from && (b.first <= until || b.began <= until) {
				blocks = append(blocks, b)
			}
		}
		var r Record
		for rows, err := range each(ctx, blocks, func(d *decoder, b *ref) ([]row, error) { return search(d, b, &q) }) {
			if err != nil && !yield(nil, err) {
				return
			}
			for i := range rows {
				rows[i].record(&r)
				if !yield(&r, nil) {
					return
				}
			}
		}
	}
}

func search(d *decoder, b *ref, q *Query) ([]row, error) {
	if err := d.open(b, b.off, b.size); err != nil {
		return nil, b.fail(err)
	}
	found, err := d.find(q, d.found[:0])
	if err != nil {
		return nil, b.fail(err)
	}
	d.found = found
	if len(found) == 0 {
		return nil, nil
	}
	if err := d.loadTimes(); err != nil {
		return nil, b.fail(err)
	}
	from, until := q.window()
	kept := found[:0]
	for _, i := range found {
		first := d.times[i]
		if d.classes[d.classOf[i]].kind == Gap {
			first = d.begans[i]
		}
		if d.times[i] >= from && first <= until {
			kept = append(kept, i)
		}
	}
	if len(kept) == 0 {
		return nil, nil
	}
	if err := d.loadAll(); err != nil {
		return nil, b.fail(err)
	}
	rows := make([]row, 0, len(kept))
	var w row
	for _, i := range kept {
		if d.row(i, &w); q.matches(&w) {
			rows = append(rows, w)
		}
	}
	return rows, nil
}
