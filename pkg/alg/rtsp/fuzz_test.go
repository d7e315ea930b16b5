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

// FuzzReader checks that all input is returned, byte for byte, in whatever pieces it
// arrives, and that what is read is the same.
func FuzzReader(f *testing.F) {
	for _, s := range all {
		f.Add([]byte(s))
		f.Add([]byte(s[:len(s)*2/3]))
	}
	f.Add([]byte("PLAY \x7f RTSP/1.0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		out, names, err := read(r)
		for _, known := range []error{io.EOF, io.ErrUnexpectedEOF, ErrTLS, ErrNotRTSP, ErrSyntax, ErrHeaderTooLong} {
			if errors.Is(err, known) {
				err = known
			}
		}
		r.Raw()
		rest, _, _ := read(r)
		if !bytes.Equal(append(slices.Clone(out), rest...), b) {
			t.Errorf("%q\nis returned as\n%q\nand\n%q", b, out, rest)
		}
		small := NewReader(iotest.OneByteReader(bytes.NewReader(b)))
		sameOut, sameNames, sameErr := read(small)
		if !errors.Is(sameErr, err) || !slices.Equal(names, sameNames) {
			t.Errorf("%q: %q, %v; in bytes %q, %v", b, names, err, sameNames, sameErr)
		}
		// At the end within data, all that arrived was returned.
		if !bytes.Equal(out, sameOut) {
			t.Errorf("%q is returned as\n%q; in bytes\n%q", b, out, sameOut)
		}
	})
}

// FuzzRewrite checks that a rewritten message is read back with the same transports, that it
// has only ports of the egress address, and that an answer opens only what was requested.
func FuzzRewrite(f *testing.F) {
	for _, s := range all {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := NewReader(strings.NewReader(s)).Next()
		if err != nil || p.Message == nil {
			return
		}
		m := p.Message
		from := &allocator{next: 40000}
		out, mappings, err := RewriteSetup(nil, m, addresses, from.allocate)
		if len(mappings) != len(from.calls) || len(mappings) > MaxOffers*2 {
			t.Errorf("%q: %d mappings, %d allocations", s, len(mappings), len(from.calls))
		}
		if err != nil {
			if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrPorts) && !errors.Is(err, ErrForeignAddress) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		again, err := NewReader(bytes.NewReader(out)).Next()
		if err != nil {
			if errors.Is(err, ErrHeaderTooLong) && len(out) > MaxHeader {
				return
			}
			t.Fatalf("%q is rewritten as\n%q: %v", s, out, err)
		}
		n := again.Message
		before, _ := m.Transports()
		after, err := n.Transports()
		if n.Method != m.Method || n.Status != m.Status || n.Length() != m.Length() || err != nil || len(before) != len(after) {
			t.Errorf("%q is rewritten as\n%q: %v", s, out, err)
		}
		for i, x := range after {
			if x.Spec != before[i].Spec || len(x.Params) != len(before[i].Params) {
				t.Errorf("%s became %s", before[i], x)
			}
			if own, err := x.ports("client_port"); x.IsUDP() && (err != nil || !own.IsZero() && !slices.ContainsFunc(mappings, func(m Mapping) bool { return m.Egress == own })) {
				t.Errorf("%s became %s, %v; mappings %v", before[i], x, err, mappings)
			}
		}
		n.Status = statusOK // as if a server had sent it
		_, media, _, err := RewriteSetupAnswer(nil, n, addresses, mappings)
		if err == nil && media != (Media{}) && !slices.Contains(mappings, media.Mapping) {
			t.Errorf("%q: media %v of %v", s, media, mappings)
		}
	})
}
