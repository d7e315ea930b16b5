package natlog

import (
	"context"
	"errors"
	"time"
)

// Flow is a translated flow, made from the records of its begin and its end.
type Flow struct {
	Owner                Owner
	Proto                uint8
	Original, Translated Tuple
	// Begin is zero if the log has only the end of the flow, without a duration.
	Begin time.Time
	// End is zero if the log has no end of the flow: it is open, or the record is missing.
	End time.Time
	// Packets and Bytes count the original direction and the reply direction. They are 0
	// if End is zero.
	Packets, Bytes [2]uint64
	// Uncertain means that the flow may not have been open at the time of the query: its
	// begin is unknown, or its end may be among lost records.
	Uncertain bool
}

// Answer is the flows of an egress address and port.
type Answer struct {
	Flows []Flow   // ordered by Begin
	Gaps  []Record // periods in which records are missing
}

var errNoAddr = errors.New("a query of the NAT log needs an egress address; set Query.Addr")

// Find returns the flows that were open at some time between From and Until, and the gaps in
// that period. Addr is required. The error is fs.ErrNotExist if the directory does not exist,
// or if no Writer has opened it and it has no file of a log.
//
// If some files cannot be read, because they are damaged or of a newer version, Find returns
// an error and the flows of all other files.
func Find(ctx context.Context, dir string, q Query) (*Answer, error) {
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
	j := joiner{query: q, decoder: d, byPorts: map[ports][]*candidate{}, byBlock: map[*ref][]*candidate{}}
	j.from, j.until = q.window()
	var blocks []ref
	setBack := isClockSetBack(v.blocks)
	for _, b := range v.blocks {
		if b.began <= j.until || b.flags&flagBeginUnknown != 0 || setBack {
			blocks = append(blocks, b)
		}
	}
	errs := v.errs
	for some, err := range decodeEach(ctx, blocks, j.collect) {
		if err == nil {
			err = j.addBlock(&some)
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
