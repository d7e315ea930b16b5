package rtsp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// The limits of a header. Headers of players and cameras have less than 1 KiB and less
// than 20 lines; authentication and cookies can make them longer.
const (
	MaxHeader = 16 << 10 // bytes, with the start line and the empty line
	MaxLines  = 128      // header lines
)

// The errors of Reader.Next. The end of the stream within a header or within data is
// io.ErrUnexpectedEOF.
var (
	// ErrTLS: the connection begins with a TLS record (RTSPS, RFC 7826, section 19.2).
	ErrTLS = errors.New("TLS, not readable")
	// ErrNotRTSP: a line that should start a message does not name RTSP. RTSP through a
	// tunnel of HTTP begins with such a line.
	ErrNotRTSP = errors.New("not RTSP")
	// ErrSyntax: a header is not valid.
	ErrSyntax = errors.New("invalid RTSP header")
	// ErrHeaderTooLong: a header exceeds MaxHeader or MaxLines.
	ErrHeaderTooLong = errors.New("RTSP header is too long")
)

// Reader splits one direction of a control connection into parts.
type Reader struct {
	src  io.Reader
	wait func() error // can be nil
	buf  []byte       // read but not returned: buf[next:end]
	next int
	end  int
	left int64 // bytes of the current body or frame that are not returned
	msg  Message
	err  error // permanent
	raw  bool
}

const bufferSize = 4 << 10

// buffers are unused buffers.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Waiter is a source that can wait without a buffer. Wait returns when Read does not block.
type Waiter interface{ Wait() error }

// NewReader returns a Reader of src. If src is a Waiter, the Reader has no buffer while it
// waits for a message.
func NewReader(src io.Reader) *Reader {
	r := &Reader{src: src}
	if w, ok := src.(Waiter); ok {
		r.wait = w.Wait
	}
	return r
}

// Part is a part of a stream. The parts together are the stream, byte for byte.
type Part struct {
	// Message is set if Data is a whole header. Parts without it follow for the body.
	Message *Message
	Data    []byte
}

// Next returns the next part, which is valid until the next call. It returns io.EOF at the
// end of the stream, one of the errors above for invalid input, or an error of the source.
// Next repeats its first error.
func (r *Reader) Next() (Part, error) {
	if r.err == nil && r.next == r.end && cap(r.buf) > bufferSize {
		r.buf, r.next, r.end = nil, 0, 0 // it has grown for a long header
	}
	if r.err != nil {
		return Part{}, r.err
	}
	p, err := r.part()
	if err != nil {
		r.err = err
	}
	return p, err
}

// Raw makes Next return the rest of the stream as data, also after an error.
func (r *Reader) Raw() {
	r.raw, r.err, r.left = true, nil, 0
}

// Peek returns all bytes that are read but not returned, and reads until they are at least
// n. With an error, which Next repeats, they can be fewer. n is at most 4 KiB. The bytes are
// valid until the next call.
func (r *Reader) Peek(n int) ([]byte, error) {
	for r.end-r.next < n && r.err == nil {
		r.err = r.fill()
	}
	if r.end-r.next < n {
		return r.buf[r.next:r.end], r.err
	}
	return r.buf[r.next:r.end], nil
}

// Partial reports whether a header is read in part. The source can call it in its Read, to
// limit the time that a header takes.
func (r *Reader) Partial() bool { return r.left == 0 && r.next < r.end && !r.raw }

// Left returns the number of bytes of the current body or frame that Next has not returned.
// If it is 0, another message can be inserted into the stream.
func (r *Reader) Left() int64 { return r.left }

func (r *Reader) part() (Part, error) {
	if r.left > 0 {
		return r.data()
	}
	if r.next == r.end {
		if err := r.fill(); err != nil {
			return Part{}, err
		}
	}
	if r.raw {
		r.left = int64(r.end - r.next)
		return r.data()
	}
	switch c := r.buf[r.next]; {
	case c == '$':
		return r.frame()
	case c == '\r' || c == '\n':
		// Empty lines before a message are ignored (RFC 7826, section 5.1.1).
		b := r.buf[r.next:r.end]
		r.left = int64(len(b) - len(bytes.TrimLeft(b, "\r\n")))
		return r.data()
	case c == tlsHandshake:
		return Part{}, ErrTLS
	case !isToken(c):
		return Part{}, fmt.Errorf("%w: a message begins with %q", ErrNotRTSP, c)
	}
	return r.header()
}

// tlsHandshake is the type of the first record of a TLS connection (RFC 8446, section 5.1).
const tlsHandshake = 0x16

// data returns a piece of the current body or frame.
func (r *Reader) data() (Part, error) {
	if r.next == r.end {
		if err := r.fill(); err != nil {
			return Part{}, unexpected(err)
		}
	}
	n := int(min(int64(r.end-r.next), r.left))
	p := Part{Data: r.buf[r.next : r.next+n]}
	r.next += n
	r.left -= int64(n)
	return p, nil
}

// frame begins a frame: '$', a channel, a length of 2 bytes, and that many bytes. Whole
// frames that follow in the buffer are part of the same data, so that they are written at
// once.
func (r *Reader) frame() (Part, error) {
	const size = 4
	for r.end-r.next < size {
		if err := r.fill(); err != nil {
			return Part{}, unexpected(err)
		}
	}
	length := func(b []byte) int { return size + int(b[2])<<8 + int(b[3]) }
	b := r.buf[r.next:r.end]
	n := length(b)
	for len(b) >= n+size && b[n] == '$' && len(b) >= n+length(b[n:]) {
		n += length(b[n:])
	}
	r.left = int64(n)
	return r.data()
}

// header reads a whole header.
func (r *Reader) header() (Part, error) {
	scanned, checked, lines := 0, 0, 0 // offsets from r.next
	for {
		b := r.buf[r.next:r.end]
		i := bytes.IndexByte(b[scanned:], '\n')
		if i < 0 {
			// Other protocols may have no lines.
			text := trimCR(b)
			if lines == 0 && hasControl(text[checked:]) {
				return Part{}, fmt.Errorf("%w: control characters in %s", ErrNotRTSP, quote(text))
			}
			checked = len(text)
			if len(b) >= MaxHeader {
				return Part{}, fmt.Errorf("%w: more than %d bytes", ErrHeaderTooLong, MaxHeader)
			}
			if err := r.fill(); err != nil {
				return Part{}, unexpected(err)
			}
			continue
		}
		line := trimCR(b[scanned : scanned+i])
		scanned += i + 1
		switch {
		case scanned > MaxHeader:
			return Part{}, fmt.Errorf("%w: more than %d bytes", ErrHeaderTooLong, MaxHeader)
		case lines == 0 && (hasControl(line) || !isStartLine(line)):
			// Do not wait for the whole header: a client of another protocol may send no
			// more before the server answers this line.
			return Part{}, fmt.Errorf("%w: the line %s", ErrNotRTSP, quote(line))
		case len(line) == 0:
			if err := r.msg.parse(b[:scanned]); err != nil {
				return Part{}, err
			}
			r.next += scanned
			r.left = r.msg.length
			return Part{Message: &r.msg, Data: b[:scanned]}, nil
		}
		if lines++; lines > MaxLines {
			return Part{}, fmt.Errorf("%w: more than %d lines", ErrHeaderTooLong, MaxLines)
		}
	}
}

// fill reads more bytes, at least one. It moves unread bytes to the start of the buffer, and
// makes the buffer larger if they fill it.
func (r *Reader) fill() error {
	if r.next == r.end && r.wait != nil {
		if len(r.buf) == bufferSize {
			buffers.Put((*[bufferSize]byte)(r.buf))
		}
		r.buf, r.next, r.end = nil, 0, 0
		if err := r.wait(); err != nil {
			return err
		}
		r.buf = buffers.Get().(*[bufferSize]byte)[:]
	}
	if r.next > 0 {
		r.end = copy(r.buf, r.buf[r.next:r.end])
		r.next = 0
	}
	if r.end == len(r.buf) {
		grown := make([]byte, max(bufferSize, 2*len(r.buf)))
		copy(grown, r.buf[:r.end])
		r.buf = grown
	}
	for range maxEmptyReads {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		if n > 0 {
			return nil // an error is returned again by the next read
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

const maxEmptyReads = 100

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func trimCR(line []byte) []byte { return bytes.TrimSuffix(line, []byte{'\r'}) }

// quote returns the start of a line for an error message.
func quote(line []byte) string {
	const shown = 40
	if len(line) > shown {
		return fmt.Sprintf("%q...", line[:shown])
	}
	return fmt.Sprintf("%q", line)
}
