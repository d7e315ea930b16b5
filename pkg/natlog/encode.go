package natlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// encoder encodes rows as blocks. It reuses its buffers.
type encoder struct {
	zstd *zstd.Encoder

	classes map[class]uint32
	locals  map[local]uint32
	owners  map[*owner]uint32
	remotes map[remote]uint32

	classRefs, localRefs, remoteRefs references
	times, ages, lost                numbers
	counts                           [4]numbers // packets, then bytes
	cols                             [columns][]byte
	packed                           []byte
}

func newEncoder() (*encoder, error) {
	// Most columns have few repetitions and a few frequent bytes. Entropy coding makes
	// them small; a slower search for repetitions does not make them smaller.
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(256<<10), zstd.WithAllLitEntropyCompression(true), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &encoder{
		zstd: z, classes: map[class]uint32{}, locals: map[local]uint32{},
		owners: map[*owner]uint32{}, remotes: map[remote]uint32{},
	}, nil
}

func (e *encoder) reset() {
	clear(e.classes)
	clear(e.locals)
	clear(e.owners)
	clear(e.remotes)
	for _, c := range [...]*references{&e.classRefs, &e.localRefs, &e.remoteRefs} {
		c.reset()
	}
	for _, c := range [...]*numbers{&e.times, &e.ages, &e.lost, &e.counts[0], &e.counts[1], &e.counts[2], &e.counts[3]} {
		c.reset()
	}
	for i := range e.cols {
		e.cols[i] = e.cols[i][:0]
	}
}

// refer returns the code of an entry, and whether it is new.
func refer[K comparable](m map[K]uint32, k K) (code uint32, isNew bool) {
	if i, ok := m[k]; ok {
		return i + 1, false
	}
	m[k] = uint32(len(m))
	return 0, true
}

// encode appends a block of at most maxRecords rows. The first row has the number seq.
func (e *encoder) encode(out []byte, seq uint64, rows []row) []byte {
	e.reset()
	h := header{kind: kindRecords, count: uint32(len(rows)), seq: seq, first: rows[0].time, last: rows[0].time, began: rows[0].began}
	same := 0
	for i := range rows {
		w := &rows[i]
		h.first, h.last, h.began = min(h.first, w.time), max(h.last, w.time), min(h.began, w.began)
		if w.original.Src.Port() == w.translated.Src.Port() {
			same++
		}
		switch {
		case w.kind == Gap:
			h.flags |= flagGaps
		case w.kind == End && w.began == w.time:
			h.flags |= flagBeginUnknown
		}
	}
	if same > len(rows)/2 {
		h.flags |= flagSamePort
	}
	last := h.first
	for i := range rows {
		w := &rows[i]
		e.times.put(zigzag(w.time - last))
		last = w.time
		e.row(w, h.flags&flagSamePort != 0)
	}
	e.gather()
	return e.write(out, h)
}

func (e *encoder) row(w *row, samePort bool) {
	e.cols[colPort] = binary.LittleEndian.AppendUint16(e.cols[colPort], w.translated.Src.Port())
	c := class{w.translated.Src.Addr(), w.kind, w.proto}
	code, isNew := refer(e.classes, c)
	if isNew {
		n := byte(0)
		if c.egress.IsValid() {
			n = addrLen(c.egress)
		}
		e.cols[colClasses] = append(e.cols[colClasses], byte(c.kind), c.proto, n)
		if n != 0 {
			e.cols[colClasses] = appendAddr(e.cols[colClasses], c.egress)
		}
	}
	e.classRefs.put(code)
	if w.kind != Begin {
		e.ages.put(uint64(w.time - w.began))
	}
	if w.kind == Gap {
		e.lost.put(w.lost)
		return
	}
	if w.kind == End {
		for i := range 2 {
			e.counts[i].put(w.packets[i])
			e.counts[2+i].put(w.bytes[i])
		}
	}
	port := w.original.Src.Port()
	if samePort {
		port -= w.translated.Src.Port()
	}
	e.cols[colSourceLow] = append(e.cols[colSourceLow], byte(port))
	e.cols[colSourceHigh] = append(e.cols[colSourceHigh], byte(port>>8))

	l := local{w.owner, w.original.Src.Addr()}
	code, isNew = refer(e.locals, l)
	if isNew {
		e.local(l)
	}
	e.localRefs.put(code)
	r := remote{w.original.Dst, w.translated.Dst}
	code, isNew = refer(e.remotes, r)
	if isNew {
		e.remote(r)
	}
	e.remoteRefs.put(code)
}

func (e *encoder) local(l local) {
	code, isNew := refer(e.owners, l.owner)
	if isNew {
		e.cols[colOwners] = appendOwner(e.cols[colOwners], &l.owner.Owner)
	}
	b := binary.AppendUvarint(e.cols[colLocals], uint64(code))
	e.cols[colLocals] = appendAddr(append(b, addrLen(l.addr)), l.addr)
}

// Flags of a remote.
const (
	remoteIs6     = 1 << iota // the original destination has 16 bytes
	remoteChanged             // the translated destination differs, and follows
	translatedIs6
	remoteBits = iota
)

// remote writes one destination if both are equal, as in most flows.
func (e *encoder) remote(r remote) {
	put := func(p netip.AddrPort) {
		e.cols[colRemoteAddrs] = appendAddr(e.cols[colRemoteAddrs], p.Addr())
		e.cols[colRemotePorts] = binary.LittleEndian.AppendUint16(e.cols[colRemotePorts], p.Port())
	}
	var flags byte
	if !r.original.Addr().Is4() {
		flags |= remoteIs6
	}
	put(r.original)
	if r.translated != r.original {
		flags |= remoteChanged
		if !r.translated.Addr().Is4() {
			flags |= translatedIs6
		}
		put(r.translated)
	}
	e.cols[colRemotes] = append(e.cols[colRemotes], flags)
}

// gather copies references and numbers to e.cols. A high column of zeros stays empty.
func (e *encoder) gather() {
	refs := func(i int, c *references) {
		e.cols[i] = append(e.cols[i], c.low...)
		if slices.ContainsFunc(c.high, func(x byte) bool { return x != 0 }) {
			e.cols[i+1] = append(e.cols[i+1], c.high...)
		}
	}
	refs(colClassLow, &e.classRefs)
	refs(colLocalLow, &e.localRefs)
	refs(colRemoteLow, &e.remoteRefs)
	put := func(i int, c *numbers) {
		c.flush()
		e.cols[i] = append(e.cols[i], c.lens...)
		e.cols[i+1] = append(e.cols[i+1], c.bits...)
	}
	put(colTimeLens, &e.times)
	put(colAgeLens, &e.ages)
	put(colLostLens, &e.lost)
	for i := range e.counts {
		put(colCounts+2*i, &e.counts[i])
	}
}

// write appends the header, the directory and the columns.
func (e *encoder) write(out []byte, h header) []byte {
	e.packed = e.packed[:0]
	var directory []byte
	for i, raw := range e.cols {
		c := column{size: uint32(len(raw)), raw: uint32(len(raw))}
		if c.raw == 0 {
			directory = appendColumn(directory, c)
			continue
		}
		at := len(e.packed)
		if !isBits(i) && len(raw) >= 16 {
			e.packed = e.zstd.EncodeAll(raw, e.packed)
			c.size, c.packed = uint32(len(e.packed)-at), true
		}
		if !c.packed || c.size >= c.raw {
			e.packed = append(e.packed[:at], raw...)
			c.size, c.packed = c.raw, false
		}
		c.sum = crc32.Checksum(e.packed[at:], castagnoli)
		directory = appendColumn(directory, c)
	}
	h.directory = uint32(len(directory))
	h.total = uint32(blockHead + len(directory) + len(e.packed))
	at := len(out)
	out = append(append(h.append(out), directory...), e.packed...)
	putChecksum(out[at:], h.directory)
	return out
}

// isBits reports whether a column is never packed: random ports and the low bits of numbers
// do not compress, and Find reads ports without unpacking.
func isBits(col int) bool {
	switch col {
	case colPort, colTimeBits, colAgeBits, colLostBits, colCounts + 1, colCounts + 3, colCounts + 5, colCounts + 7:
		return true
	}
	return false
}
