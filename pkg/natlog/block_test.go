package natlog

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

func encodeRows(t testing.TB, seq uint64, rows []row) []byte {
	t.Helper()
	e := assert.Must(newEncoder())(t)
	defer e.zstd.Close()
	return e.encode(nil, seq, rows)
}

func decodeRows(d *decoder, b []byte) ([]row, error) {
	return readRows(d, bytes.NewReader(b), 0, int64(len(b)))
}

// readRows reads all rows of the block at an offset of a file.
func readRows(d *decoder, f io.ReaderAt, off, size int64) ([]row, error) {
	if err := d.open(f, off, size); err != nil {
		return nil, err
	}
	if err := d.loadAll(); err != nil {
		return nil, err
	}
	rows := make([]row, d.head.count)
	for i := range rows {
		d.row(i, &rows[i])
	}
	return rows, nil
}

// equal compares rows, and their owners by value.
func equal(a, b row) bool {
	if (a.owner == nil) != (b.owner == nil) || a.owner != nil && a.owner.Owner != b.owner.Owner {
		return false
	}
	a.owner, b.owner = nil, nil
	return a == b
}

func rowsOf(t testing.TB, all []Record) []row {
	t.Helper()
	var o ownerTable
	rows := make([]row, len(all))
	for i := range all {
		assert.NoError(t, rows[i].set(&all[i]))
		if all[i].Kind != Gap {
			rows[i].owner = assert.Must(o.intern(&all[i].Owner))(t)
		}
	}
	return rows
}

// extremes returns rows with values that no kernel reports.
func extremes() []row {
	r := rand.New(rand.NewPCG(1, 2))
	addr := func() netip.Addr {
		b := [16]byte{10: 0xff, 11: 0xff, 12: byte(r.Uint32()), 15: byte(r.Uint32())}
		switch r.IntN(3) {
		case 0:
			return netip.AddrFrom4([4]byte(b[12:]))
		case 1:
			b[0] = 0x20
		}
		return netip.AddrFrom16(b)
	}
	number := func() uint64 { return r.Uint64() >> r.IntN(64) >> r.IntN(2) }
	names := []*owner{{}, {Owner: Owner{}}, {}}
	names[1].Network, names[2].UID = "\x1b[2J\x00\xff", string(make([]byte, 3000))
	all := make([]row, 5000)
	for i := range all {
		w := &all[i]
		w.kind = Kind(1 + r.IntN(3))
		w.time = int64(number())
		if r.IntN(2) == 0 {
			w.time = -w.time
		}
		w.began = w.time
		if w.kind != Begin {
			w.began -= int64(number() >> 1)
		}
		if w.kind == Gap {
			w.lost = number()
			continue
		}
		w.proto, w.owner = byte(r.Uint32()), names[r.IntN(len(names))]
		ap := func() netip.AddrPort { return netip.AddrPortFrom(addr(), uint16(r.Uint32())) }
		w.original, w.translated = Tuple{ap(), ap()}, Tuple{ap(), ap()}
		if w.kind == End {
			w.packets, w.bytes = [2]uint64{number(), math.MaxUint64}, [2]uint64{number(), 0}
		}
	}
	return all
}

func TestBlockRoundTrip(t *testing.T) {
	full := some(maxRecords)
	samePort := slices.Clone(full[:3000])
	for i := range samePort[100:] {
		r := &samePort[100+i]
		p := r.Translated.Src.Port()
		r.Original.Src = netip.AddrPortFrom(r.Original.Src.Addr(), p)
	}
	d := assert.Must(newDecoder())(t)
	for name, rows := range map[string][]row{
		"one": rowsOf(t, full[:1]), "traffic": rowsOf(t, full), "same ports": rowsOf(t, samePort),
		"only a gap": {{kind: Gap, time: 5, began: 3, lost: 9}}, "extremes": extremes(),
	} {
		got, err := decodeRows(d, encodeRows(t, 7, rows))
		if err != nil || d.head.seq != 7 {
			t.Errorf("%s: error %v, first record is number %d, want 7", name, err, d.head.seq)
			continue
		}
		if len(got) != len(rows) {
			t.Errorf("%s: got %d rows, want %d", name, len(got), len(rows))
			continue
		}
		for i := range rows {
			if !equal(got[i], rows[i]) {
				t.Errorf("%s: row %d is %+v\nwant %+v", name, i, got[i], rows[i])
				break
			}
		}
	}
}

// TestBlockDamaged: every changed or missing byte of a block is an error.
func TestBlockDamaged(t *testing.T) {
	good := encodeRows(t, 0, rowsOf(t, some(200)))
	d := assert.Must(newDecoder())(t)
	b := slices.Clone(good)
	for i := range b {
		b[i] ^= 1 << (i % 8)
		if _, err := decodeRows(d, b); err == nil {
			t.Fatalf("byte %d of %d is changed: no error", i, len(b))
		}
		b[i] = good[i]
	}
	for n := range good {
		if _, err := decodeRows(d, good[:n]); err == nil {
			t.Fatalf("block is truncated to %d of %d bytes: no error", n, len(good))
		}
	}
	if _, err := decodeRows(d, good); err != nil {
		t.Error(err)
	}
}

func TestFindPort(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 300 {
		b := make([]byte, 2*n)
		for i := range b {
			b[i] = byte(r.IntN(2)) // many matches and near matches
		}
		port := uint16(r.IntN(2) | r.IntN(2)<<8)
		var want []int
		for i := range n {
			if uint16(b[2*i])|uint16(b[2*i+1])<<8 == port {
				want = append(want, i)
			}
		}
		if got := findPort(b, port, nil); !slices.Equal(got, want) {
			t.Fatalf("port %#04x in %x: got %v, want %v", port, b, got, want)
		}
	}
}

// reseal corrects the checksums, so that FuzzBlock also tests code after the checksums.
func reseal(b []byte) {
	var h header
	var cols [columns]column
	if len(b) < blockHead || h.parse(b) != nil || int(h.total) > len(b) {
		return
	}
	directory, body := b[blockHead:blockHead+h.directory], b[blockHead+h.directory:h.total]
	if takeColumns(&cols, directory, uint32(len(body))) == nil {
		var right []byte
		for _, c := range cols {
			c.sum = crc32.Checksum(body[c.off:c.off+c.size], castagnoli)
			right = appendColumn(right, c)
		}
		if len(right) == len(directory) {
			copy(directory, right)
		}
	}
	putChecksum(b, h.directory)
}

func FuzzBlock(f *testing.F) {
	for _, n := range []int{1, 4, 20} {
		f.Add(encodeRows(f, 0, rowsOf(f, some(n))))
	}
	// Rows with long names are omitted: minimizing such inputs takes too long.
	f.Add(encodeRows(f, 0, slices.DeleteFunc(extremes()[:20], func(w row) bool { return w.owner != nil && len(w.owner.UID) > 100 })))
	d := assert.Must(newDecoder())(f)
	e := assert.Must(newEncoder())(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		reseal(b)
		rows, err := decodeRows(d, b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error is not ErrCorrupt, ErrNewer or ErrUnexpectedEOF: %v", err)
			}
			return
		}
		if len(rows) == 0 {
			return
		}
		again, err := decodeRows(d, e.encode(nil, 0, rows))
		if err != nil || len(again) != len(rows) {
			t.Fatalf("%d rows decode to %d, error %v", len(rows), len(again), err)
		}
		for i := range rows {
			if !equal(rows[i], again[i]) {
				t.Fatalf("%+v decodes to %+v", rows[i], again[i])
			}
		}
	})
}

func FuzzFile(f *testing.F) {
	rows := rowsOf(f, some(30))
	b := appendFileHead(nil)
	var all []locatedBlock
	for i := range 3 {
		p := locatedBlock{off: int64(len(b))}
		block := encodeRows(f, uint64(i*10), rows[i*10:i*10+10])
		assert.NoError(f, p.parse(block))
		b, all = append(b, block...), append(all, p)
	}
	f.Add(slices.Clone(b))
	f.Add(appendIndex(b, int64(len(b)), all, 30, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		var c contents
		if err := c.read(r, int64(len(b))); err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		if c.end > int64(len(b)) {
			t.Errorf("the last block ends at %d, the file has %d bytes", c.end, len(b))
		}
		for i, p := range c.blocks {
			if p.off < fileHead || p.off+int64(p.total) > int64(len(b)) || i > 0 && p.off <= c.blocks[i-1].off {
				t.Errorf("block %d has the invalid offset %d", i, p.off)
			}
		}
	})
}
