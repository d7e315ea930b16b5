package natlog

import (
	"context"
	"errors"
	"time"
)

// Flow is one translated flow: its begin and its end joined.
type Flow struct {
	Owner                Owner
	Proto                uint8
	Original, Translated Tuple
	// Begin is zero where only the end was logged, and nobody knew for how long the
	// flow had lived.
	Begin time.Time
	// End is zero where the log has none: the flow lives, or its end is missing.
	End time.Time
	// Packets and Bytes are those of the original direction and of the reply's, as
	// they are known at the end.
	Packets, Bytes [2]uint64
	// Uncertain says that the flow may not have been there in the time that was asked
	// for: it has no end, and records that could be it are missing, or its begin is
	// not known.
	Uncertain bool
}

// Answer is what a log knows of an egress address and port.
type Answer struct {
	Flows []Flow // by Begin
	Gaps  []Record
}

var errNoAddr = errors.New("whose flow it is cannot be asked without an address; give Query.Addr")

// Who finds the flows that were there at some moment between From and Until, and the
// gaps within, in which others may be missing. Addr is needed.
//
// What can be read is in the answer, also beside an error: a file of a newer version or
// a damaged one leaves the others readable.
func Who(ctx context.Context, dir string, q Query) (*Answer, error) {
	if !q.Addr.IsValid() {
		return &Answer{}, errNoAddr
	}
	v, err := openView(dir)
	if err != nil {
		return &Answer{}, err
	}
	defer v.close()
	d, err := newDecoder()
	if err != nil {
		return &Answer{}, err
	}
	defer d.zstd.Close()
	j := joining{query: q, decoder: d, byPorts: map[ports][]*candidate{}, byBlock: map[*ref][]*candidate{}}
	j.from, j.until = q.window()
	var blocks []ref
	set := setBack(v.blocks)
	for _, b := range v.blocks {
		if b.began <= j.until || b.flags&flagAgeless != 0 || set {
			blocks = append(blocks, b)
		}
	}
	errs := v.errs
	for some, err := range each(ctx, blocks, j.collect) {
		if err == nil {
			err = j.take(&some)
		}
		if err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			return &Answer{}, ctx.Err()
		}
	}
	a, err := j.answer()
	return a, errors.Join(append(errs, err)...)
}
