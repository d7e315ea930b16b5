package talk

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

// FuzzTalk checks that a valid datagram survives writing and reading, and that a rewritten
// datagram has the new addresses and no other change.
func FuzzTalk(f *testing.F) {
	for _, s := range []string{announce, lookUp, oldVAX, oldSun, found, none, oldFound} {
		f.Add(bytesOf(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, format := range []Format{NTalk, Talk} {
			if r, err := ParseRequest(format, b); err == nil {
				again, err := r.AppendBinary(nil)
				if err != nil {
					t.Fatalf("%x: %v", b, err)
				}
				if same, err := ParseRequest(format, again); err != nil || same != r {
					t.Errorf("%+v is read back as\n%+v, %v", r, same, err)
				}
				out := bytes.Clone(b)
				if err := Rewrite(format, out, egress, reply); err != nil {
					t.Fatalf("%x: %v", b, err)
				}
				want := r
				want.Addr, want.Control = egress, reply
				if got, err := ParseRequest(format, out); err != nil || got != want {
					t.Errorf("%+v is rewritten as\n%+v, %v", r, got, err)
				}
				l := layouts[format].request
				unchanged(t, b, out, l.addr, l.control)
			} else if !errors.Is(err, ErrMalformed) {
				t.Errorf("%x: %v", b, err)
			}
			if r, err := ParseResponse(format, b); err == nil {
				again, err := r.AppendBinary(nil)
				if err != nil {
					t.Fatalf("%x: %v", b, err)
				}
				if same, err := ParseResponse(format, again); err != nil || r.Addr != (netip.AddrPort{}) && same != r {
					t.Errorf("%+v is read back as\n%+v, %v", r, same, err)
				}
				out := bytes.Clone(b)
				if err := RewriteResponse(format, out, egress); err != nil {
					t.Fatalf("%x: %v", b, err)
				}
				if got, err := ParseResponse(format, out); err != nil || got.Addr != egress || got.ID != r.ID || got.Answer != r.Answer {
					t.Errorf("%+v is rewritten as\n%+v, %v", r, got, err)
				}
				unchanged(t, b, out, layouts[format].response.addr)
			} else if !errors.Is(err, ErrMalformed) {
				t.Errorf("%x: %v", b, err)
			}
		}
	})
}

// unchanged checks that all bytes are equal except the family, port and address.
func unchanged(t *testing.T, before, after []byte, at ...int) {
	t.Helper()
	before, after = bytes.Clone(before), bytes.Clone(after)
	for _, i := range at {
		clear(before[i : i+8])
		clear(after[i : i+8])
	}
	if !bytes.Equal(before, after) {
		t.Errorf("%x\nbecomes\n%x", before, after)
	}
}
