package rtsp

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Message is the header of a request or a response.
type Message struct {
	Method string // "SETUP"; empty for a response
	Status int    // 200; 0 for a request

	header  []byte
	version []byte // "RTSP/1.0"
	uri     []byte // empty for a response
	fields  []field
	length  int64 // the length of the body in bytes
}

// field is the place of one header field in header. It can have several lines.
type field struct {
	start, colon, end int // end is after the end of the line
}

// IsRequest reports whether the message is a request.
func (m *Message) IsRequest() bool { return m.Method != "" }

// URI returns the URI of a request, which is valid as long as m. For a response it is empty.
func (m *Message) URI() []byte { return m.uri }

// Length returns the length of the body, in bytes.
func (m *Message) Length() int64 { return m.length }

// Get returns the value of the first field with a name. Upper and lower case are equal. ok
// is false if the message does not have the field.
func (m *Message) Get(name string) (value string, ok bool) {
	for _, f := range m.fields {
		if m.named(f, name) {
			return string(m.value(f)), true
		}
	}
	return "", false
}

// CSeq returns the sequence number, which an answer repeats. It returns ErrSyntax if the
// field is missing or invalid.
func (m *Message) CSeq() (uint32, error) {
	v, _ := m.Get("CSeq")
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%w: CSeq %s", ErrSyntax, quote([]byte(v)))
	}
	return uint32(n), nil
}

// Session returns the ID of the session, or "" without one.
func (m *Message) Session() string {
	v, _ := m.Get("Session")
	id, _, _ := strings.Cut(v, ";")
	return strings.TrimSpace(id)
}

// parse reads a whole header, which must not change while m is used. It reuses m.
func (m *Message) parse(header []byte) error {
	*m = Message{header: header, fields: m.fields[:0]}
	at := bytes.IndexByte(header, '\n') + 1
	if err := m.parseStart(trimCR(header[:max(at-1, 0)])); err != nil {
		return err
	}
	for at < len(header) {
		end := at + bytes.IndexByte(header[at:], '\n') + 1
		line := trimCR(header[at:max(end-1, at)])
		switch {
		case end <= at:
			return fmt.Errorf("%w: the last line has no end", ErrSyntax)
		case len(line) == 0:
			return m.parseLength()
		case hasControl(line):
			return fmt.Errorf("%w: control characters in %s", ErrSyntax, quote(line))
		case line[0] == ' ' || line[0] == '\t':
			// The line continues the field before it (RFC 2326, section 4.2).
			if len(m.fields) == 0 {
				return fmt.Errorf("%w: the first field begins with a space", ErrSyntax)
			}
			m.fields[len(m.fields)-1].end = end
		default:
			colon := bytes.IndexByte(line, ':')
			if colon <= 0 || !allToken(bytes.TrimRight(line[:colon], " \t")) {
				return fmt.Errorf("%w: no name in %s", ErrSyntax, quote(line))
			}
			m.fields = append(m.fields, field{at, at + colon, end})
		}
		at = end
	}
	return fmt.Errorf("%w: no empty line", ErrSyntax)
}

// parseLength reads Content-Length. Several fields must agree: two readers that take
// different ones would read different messages.
func (m *Message) parseLength() error {
	found := false
	for _, f := range m.fields {
		if !m.named(f, "Content-Length") {
			continue
		}
		v := m.value(f)
		n, err := strconv.ParseUint(string(v), 10, 31)
		if err != nil || found && int64(n) != m.length {
			return fmt.Errorf("%w: Content-Length %s", ErrSyntax, quote(v))
		}
		m.length, found = int64(n), true
	}
	return nil
}

// parseStart reads the line that starts a message:
//
//	SETUP rtsp://192.0.2.1/track1 RTSP/1.0
//	RTSP/1.0 200 OK
func (m *Message) parseStart(line []byte) error {
	if hasControl(line) || !isStartLine(line) {
		return fmt.Errorf("%w: the line %s", ErrNotRTSP, quote(line))
	}
	if isResponseLine(line) {
		rest := bytes.TrimLeft(line[len(protocol)+len("1.0"):], " ")
		code, _, _ := bytes.Cut(rest, []byte(" "))
		n, err := strconv.ParseUint(string(code), 10, 16)
		if err != nil || n < 100 || n > 999 {
			return fmt.Errorf("%w: the status of %s", ErrSyntax, quote(line))
		}
		m.Status, m.version = int(n), line[:len(protocol)+len("1.0")]
		return nil
	}
	method, rest, _ := bytes.Cut(line, []byte(" "))
	if len(method) > maxMethod || !allToken(method) {
		return fmt.Errorf("%w: the method of %s", ErrSyntax, quote(line))
	}
	m.Method, m.version = methodName(method), line[len(line)-len(protocol)-len("1.0"):]
	m.uri = bytes.TrimSpace(rest[:len(rest)-len(m.version)])
	return nil
}

const (
	protocol  = "RTSP/"
	maxMethod = 32 // bytes
)

// isStartLine reports whether a line begins or ends with a version of RTSP.
func isStartLine(line []byte) bool {
	if isResponseLine(line) {
		return true
	}
	rest, ok := bytes.CutSuffix(line, []byte(" "+protocol+"1.0"))
	if !ok {
		rest, ok = bytes.CutSuffix(line, []byte(" "+protocol+"2.0"))
	}
	method, uri, _ := bytes.Cut(rest, []byte(" "))
	return ok && len(method) > 0 && len(bytes.TrimSpace(uri)) > 0
}

func isResponseLine(line []byte) bool {
	return bytes.HasPrefix(line, []byte(protocol+"1.0 ")) || bytes.HasPrefix(line, []byte(protocol+"2.0 "))
}

// methodName returns the method without an allocation if it is a common one.
func methodName(b []byte) string {
	switch string(b) {
	case "OPTIONS":
		return "OPTIONS"
	case "DESCRIBE":
		return "DESCRIBE"
	case "SETUP":
		return "SETUP"
	case "PLAY":
		return "PLAY"
	case "PAUSE":
		return "PAUSE"
	case "TEARDOWN":
		return "TEARDOWN"
	case "GET_PARAMETER":
		return "GET_PARAMETER"
	case "SET_PARAMETER":
		return "SET_PARAMETER"
	}
	return string(b)
}

func (m *Message) named(f field, name string) bool {
	b := bytes.TrimRight(m.header[f.start:f.colon], " \t")
	return len(b) == len(name) && strings.EqualFold(string(b), name)
}

// value returns the value of a field without spaces around it. The ends of lines within it
// are part of it.
func (m *Message) value(f field) []byte {
	return bytes.Trim(m.header[f.colon+1:f.end], " \t\r\n")
}

// isToken reports whether a byte can be part of a name (RFC 7826, section 20.1).
func isToken(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func allToken(b []byte) bool {
	for _, c := range b {
		if !isToken(c) {
			return false
		}
	}
	return len(b) > 0
}

func hasControl(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}
