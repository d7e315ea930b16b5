package rtsp

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// read returns all parts of a stream joined, the names of its messages, and the error at
// the end.
func read(r *Reader) (out []byte, names []string, err error) {
	for {
		p, err := r.Next()
		if err != nil {
			return out, names, err
		}
		out = append(out, p.Data...)
		switch m := p.Message; {
		case m == nil:
		case m.IsRequest():
			names = append(names, m.Method)
		default:
			names = append(names, "response")
		}
	}
}

// The parts are the stream, in whatever pieces it arrives.
func TestReaderPassesEverything(t *testing.T) {
	for name, stream := range all {
		for how, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader,
			"halves": iotest.HalfReader, "error with data": iotest.DataErrReader,
		} {
			out, names, err := read(NewReader(wrap(strings.NewReader(stream))))
			if string(out) != stream || !errors.Is(err, io.EOF) || len(names) == 0 {
				t.Errorf("%s, %s: %q, %v\n%s\nwant\n%s", name, how, names, err, out, stream)
			}
		}
	}
}

func TestReaderSplits(t *testing.T) {
	for stream, want := range map[string][]string{
		setup + play + ffmpeg:                  {"SETUP", "PLAY", "SETUP"},
		describe:                               {"response", "response"},
		interleaved:                            {"PLAY"},
		"$\x00\x00\x00" + play:                 {"PLAY"},
		"HELLO rtsp://x RTSP/1.0\nCSeq: 1\n\n": {"HELLO"}, // an extension; line feeds alone
	} {
		_, names, err := read(NewReader(strings.NewReader(stream)))
		if !slices.Equal(names, want) || !errors.Is(err, io.EOF) {
			t.Errorf("%q: %q, %v, want %q", stream, names, err, want)
		}
	}
}

// What cannot be read can be passed on.
func TestReaderRefuses(t *testing.T) {
	const start = "PLAY rtsp://x RTSP/1.0\r\n"
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"TLS":                    {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ErrTLS},
		"HTTP tunnel":            {"GET /sw.mov HTTP/1.0\r\nx-sessioncookie: x\r\n\r\n", ErrNotRTSP},
		"PNA":                    {"PNA\x00\x0a\x00\x01\n", ErrNotRTSP},
		"binary":                 {"\x00\x01\x02", ErrNotRTSP},
		"no URI":                 {"PLAY RTSP/1.0\r\n\r\n", ErrNotRTSP},
		"other version":          {"PLAY rtsp://x RTSP/3.0\r\n\r\n", ErrNotRTSP},
		"status":                 {"RTSP/1.0 two OK\r\n\r\n", ErrSyntax},
		"long method":            {strings.Repeat("A", 33) + " x RTSP/1.0\r\n\r\n", ErrSyntax},
		"no name":                {start + ": x\r\n\r\n", ErrSyntax},
		"no colon":               {start + "Session\r\n\r\n", ErrSyntax},
		"control character":      {start + "Session: \x00\r\n\r\n", ErrSyntax},
		"return within a line":   {start + "A: x\rTransport: y\r\n\r\n", ErrSyntax},
		"space first":            {start + " x\r\n\r\n", ErrSyntax},
		"negative length":        {start + "Content-Length: -1\r\n\r\n", ErrSyntax},
		"huge length":            {start + "Content-Length: 99999999999\r\n\r\n", ErrSyntax},
		"two lengths":            {start + "Content-Length: 1\r\ncontent-length: 2\r\n\r\n", ErrSyntax},
		"end within a header":    {start + "CSeq: 1\r\n", io.ErrUnexpectedEOF},
		"end within a frame":     {"$\x00\x00\x04RTP", io.ErrUnexpectedEOF},
		"end within a body":      {start + "Content-Length: 5\r\n\r\nx", io.ErrUnexpectedEOF},
		"endless start line":     {strings.Repeat("A", 1<<20), ErrHeaderTooLong},
		"endless field":          {start + "A: " + strings.Repeat("x", 1<<20), ErrHeaderTooLong},
		"endless fields":         {start + strings.Repeat("A: x\r\n", 1<<16), ErrHeaderTooLong},
		"endless continuation":   {start + "A: x\r\n" + strings.Repeat(" x\r\n", 1<<16), ErrHeaderTooLong},
		"long field, then short": {start + "A: " + strings.Repeat("x", MaxHeader) + "\r\n\r\n", ErrHeaderTooLong},
	} {
		r := NewReader(iotest.HalfReader(strings.NewReader(c.in)))
		out, _, err := read(r)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, again := r.Next(); !errors.Is(again, c.want) {
			t.Errorf("%s: %v after %v", name, again, err)
		}
		r.Raw()
		rest, _, _ := read(r)
		if string(out)+string(rest) != c.in {
			t.Errorf("%s: %d of %d bytes are left", name, len(out)+len(rest), len(c.in))
		}
		if len(err.Error()) > 200 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
}

// endless returns bytes without an end, and counts them.
type endless int

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'a'
	}
	*e += endless(len(b))
	return len(b), nil
}

func TestReaderIsBounded(t *testing.T) {
	var e endless
	r := NewReader(&e)
	if _, err := r.Next(); !errors.Is(err, ErrHeaderTooLong) || e > 2*MaxHeader || cap(r.buf) > 2*MaxHeader {
		t.Errorf("%v after %d bytes, %d in memory", err, e, cap(r.buf))
	}
	// The buffer of a long header is given up.
	long := "PLAY rtsp://x RTSP/1.0\r\nA: " + strings.Repeat("x", MaxHeader/2) + "\r\n\r\n"
	r = NewReader(strings.NewReader(long + play))
	_, names, err := read(r)
	if len(names) != 2 || !errors.Is(err, io.EOF) || cap(r.buf) > bufferSize {
		t.Errorf("%q, %v, %d bytes in memory", names, err, cap(r.buf))
	}
}

// source returns its bytes without an end.
type source struct {
	b  []byte
	at int
}

func (s *source) Read(b []byte) (int, error) {
	n := copy(b, s.b[s.at:])
	s.at = (s.at + n) % len(s.b)
	return n, nil
}

func TestReaderAllocatesNothing(t *testing.T) {
	r := NewReader(&source{b: []byte(play + interleaved + setupAnswer)})
	n := testing.AllocsPerRun(1000, func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for each part", n)
	}
}

func BenchmarkReader(b *testing.B) {
	r := NewReader(&source{b: bytes.Repeat([]byte(play), 10)})
	b.SetBytes(int64(len(play)))
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// waiting is a source that checks that the Reader has no buffer while it waits.
type waiting struct {
	io.Reader
	t     *testing.T
	r     *Reader
	waits int
}

func (w *waiting) Wait() error {
	if w.waits++; w.r.buf != nil {
		w.t.Errorf("a buffer of %d bytes", len(w.r.buf))
	}
	return nil
}

func TestReaderWaits(t *testing.T) {
	long := crlf("PLAY rtsp://x RTSP/1.0\nA: " + strings.Repeat("x", bufferSize) + "\n\n")
	for _, stream := range []string{describe + long + interleaved, long + long} {
		w := &waiting{Reader: iotest.HalfReader(strings.NewReader(stream)), t: t}
		w.r = NewReader(w)
		out, _, err := read(w.r)
		if string(out) != stream || !errors.Is(err, io.EOF) || w.waits == 0 {
			t.Errorf("%d waits, %v: %q", w.waits, err, out)
		}
	}
}

func TestReaderPeek(t *testing.T) {
	r := NewReader(iotest.OneByteReader(strings.NewReader(play)))
	for _, n := range []int{0, 1, 3, 2} {
		if b, err := r.Peek(n); len(b) < n || err != nil || !strings.HasPrefix(play, string(b)) {
			t.Errorf("%d: %q, %v", n, b, err)
		}
	}
	if !r.Partial() {
		t.Error("3 bytes are not a part of a header")
	}
	if p, err := r.Next(); err != nil || string(p.Data) != play || r.Partial() {
		t.Errorf("%q, %v", p.Data, err)
	}
	for range 2 {
		if b, err := r.Peek(1); len(b) > 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%q, %v at the end", b, err)
		}
	}
}

// TestReaderLeft: Left is 0 between messages only.
func TestReaderLeft(t *testing.T) {
	r := NewReader(iotest.OneByteReader(strings.NewReader(describe + "$\x00\x00\x02ab")))
	at := map[int]bool{}
	for n := 0; ; {
		p, err := r.Next()
		if err != nil {
			break
		}
		n += len(p.Data)
		at[n] = r.Left() == 0
	}
	ends := []int{len(describe) - len(setupAnswer), len(describe), len(describe) + 6}
	for n, is := range at {
		if is != slices.Contains(ends, n) {
			t.Errorf("at %d: %t", n, is)
		}
	}
}

// TestReaderFrames: frames that arrive together are returned together.
func TestReaderFrames(t *testing.T) {
	frames := "$\x00\x00\x01a$\x01\x00\x00$\x00\x00\x02bb"
	r := NewReader(strings.NewReader(frames + play + "$\x00\x00\x05part"))
	for _, want := range []string{frames, play, "$\x00\x00\x05part"} {
		if p, err := r.Next(); string(p.Data) != want || err != nil {
			t.Errorf("%q, %v, want %q", p.Data, err, want)
		}
	}
}

func TestURI(t *testing.T) {
	for in, want := range map[string]string{
		play: "rtsp://example.com/foo", setupAnswer: "",
		"OPTIONS * RTSP/2.0\r\n\r\n": "*", "PLAY  a b  RTSP/1.0\r\n\r\n": "a b",
	} {
		p, err := NewReader(strings.NewReader(in)).Next()
		if err != nil || string(p.Message.URI()) != want {
			t.Errorf("%q: %q, %v", in, p.Message.URI(), err)
		}
	}
}
