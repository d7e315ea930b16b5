package pna

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

const (
	// A stream by UDP, with error correction.
	udp = "PNA\x00\x0a" + "\x00\x01\x00\x02\x1b\x58" + "\x00\x07\x00\x02\x1b\x59" + "\x00\x04\x00\x03abc" + "\x00\x00"
	// The request of xine and mplayer (pnm.c), which want the stream in the connection.
	tcp = "PNA\x00\x0a\x00\x14\x00\x02\x00\x01" + "\x00\x04\x00\x200990f6b4508b51e801bd6da011ad7b56" +
		"\x00\x0a\x00\x00\x00\x0c\x00\x00\x00\x0d\x00\x00\x00\x16\x00\x02\x00\x01" +
		"\x00\x17\x00\x1b[15/06/1999:22:22:49 00:00]" + "\x00\x05\x00\x04\x00\xa0\x00\x00" + "\x00\x00"
	after = "\x50\x84\x1f\x3ac\x00\x04Win\x00R\x00\x05/a.rayB"
)

// numbers returns IDs and ports.
func numbers(h Hello) (out []Port) {
	for _, p := range h.Ports {
		out = append(out, Port{ID: p.ID, Number: p.Number})
	}
	return out
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		want   []Port
		length int
		done   bool
	}{
		"UDP":               {udp, []Port{{ID: Stream, Number: 7000}, {ID: Correction, Number: 7001}}, len(udp), true},
		"data after":        {udp + after, []Port{{ID: Stream, Number: 7000}, {ID: Correction, Number: 7001}}, len(udp), true},
		"TCP":               {tcp + after, nil, len(tcp), true},
		"no end":            {udp[:len(udp)-2], []Port{{ID: Stream, Number: 7000}, {ID: Correction, Number: 7001}}, len(udp) - 2, false},
		"half a port":       {udp[:10], nil, 5, false},
		"half an option":    {udp[:7], nil, 5, false},
		"half a header":     {udp[:4], nil, 0, false},
		"nothing":           {"", nil, 0, false},
		"no port":           {"PNA\x00\x0a\x00\x07\x00\x02\x00\x00\x00\x00", nil, 13, true},
		"an option of size": {"PNA\x00\x0a\x00\x04\x00\x05ab", nil, 5, false},
	} {
		h, err := Parse([]byte(c.in))
		if err != nil || !slices.Equal(numbers(h), c.want) || h.Length != c.length || h.Done != c.done {
			t.Errorf("%s: %+v, %v, want %v, %d bytes, done %t", name, h, err, c.want, c.length, c.done)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"RTSP":         {"OPTIONS rtsp://x RTSP/1.0\r\n", ErrNotPNA},
		"first letter": {"O", ErrNotPNA},
		"version":      {"PNA\x01\x00", ErrMalformed},
		"long port":    {"PNA\x00\x0a\x00\x01\x00\x04\x00\x00\x1b\x58", ErrMalformed},
		"short port":   {"PNA\x00\x0a\x00\x01\x00\x00", ErrMalformed},
		"long option":  {"PNA\x00\x0a\x00\x04\xff\xff", ErrMalformed},
		"many options": {"PNA\x00\x0a" + strings.Repeat("\x00\x04\x00\x00", MaxLength), ErrMalformed},
		"many ports":   {"PNA\x00\x0a" + strings.Repeat("\x00\x01\x00\x02\x1b\x58", MaxPorts+1), ErrMalformed},
	} {
		if h, err := Parse([]byte(c.in)); !errors.Is(err, c.want) || h.Done {
			t.Errorf("%s: %+v, %v, want %v", name, h, err, c.want)
		}
	}
}

func TestReplace(t *testing.T) {
	b := []byte(udp + after)
	h, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range h.Ports {
		h.Replace(b, p, 40000+uint16(i))
	}
	want := strings.NewReplacer("\x1b\x58", "\x9c\x40", "\x1b\x59", "\x9c\x41").Replace(udp) + after
	if string(b) != want {
		t.Errorf("%q, want %q", b, want)
	}
}

// FuzzParse checks that any beginning of a message is read as the beginning of what the
// whole is read as, and that a replaced port is read back.
func FuzzParse(f *testing.F) {
	for _, s := range []string{udp, tcp + after, udp[:9], "OPTIONS"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrNotPNA) && !errors.Is(err, ErrMalformed) {
				t.Errorf("%q: %v", b, err)
			}
			return
		}
		if whole.Length > len(b) || whole.Length > MaxLength+2 || len(whole.Ports) > MaxPorts {
			t.Errorf("%q: %+v", b, whole)
		}
		for n := range min(len(b), 64) {
			part, err := Parse(b[:n])
			if err != nil || part.Length > whole.Length || !slices.Equal(part.Ports, whole.Ports[:len(part.Ports)]) {
				t.Errorf("%q: %+v, %v; %d bytes of it: %+v", b, whole, err, n, part)
			}
		}
		out := bytes.Clone(b)
		for _, p := range whole.Ports {
			whole.Replace(out, p, 40000)
		}
		again, err := Parse(out)
		if err != nil || again.Length != whole.Length || len(again.Ports) != len(whole.Ports) {
			t.Errorf("%q becomes %q: %+v, %v", b, out, again, err)
		}
		for _, p := range again.Ports {
			if p.Number != 40000 {
				t.Errorf("%q becomes %q", b, out)
			}
		}
	})
}
