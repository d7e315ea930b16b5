package talk

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func bytesOf(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The datagrams of a call, field by field as in <protocols/talkd.h> and in ctl.h of 4.2BSD.
const (
	announce = `01 03 00 00  ffffffff
		0002 9c41 0a580002 0000000000000000
		0002 d431 0a580002 0000000000000000
		000004d2  616c69636500000000000000  626f62000000000000000000  00000000000000000000000000000000`
	// After the zero byte of a name, a sender may leave anything.
	lookUp = `01 01 00 00  00000000
		0002 0000 00000000 0000000000000000
		0002 d431 c6336402 1122334455667788
		000004d2  626f62007878787878787878  616c69636500000000000000  7074732f330000000000000000000000`
	found = `01 01 00 00  00000007  0002 9c41 0a580002 0000000000000000`
	none  = `01 01 01 00  00000000  0000 0000 00000000 0000000000000000`
	// A CPU with the least significant byte first, such as a VAX; and one with the most
	// significant byte first, such as a Sun.
	oldVAX = `03  616c69636500000000  626f62000000000000  00  01000000  d2040000  00000000000000000000000000000000
		0200 9c41 0a580002 0000000000000000
		0200 d431 0a580002 0000000000000000`
	oldSun = `03  616c69636500000000  626f62000000000000  00  00000001  000004d2  00000000000000000000000000000000
		0002 9c41 0a580002 0000000000000000
		0002 d431 0a580002 0000000000000000`
	oldFound = `01 00 0000  07000000  0200 9c41 0a580002 0000000000000000`
)

var (
	alice   = netip.MustParseAddrPort("10.88.0.2:40001")
	control = netip.MustParseAddrPort("10.88.0.2:54321")
	egress  = netip.MustParseAddrPort("192.0.2.53:2049")
	reply   = netip.MustParseAddrPort("192.0.2.53:2050")
)

func TestParseRequest(t *testing.T) {
	call := Request{Format: NTalk, Type: Announce, ID: 0xffffffff, Addr: alice, Control: control, PID: 1234, Caller: "alice", Callee: "bob"}
	sun := Request{Format: Talk, Type: Announce, ID: 1, Addr: alice, Control: control, PID: 1234, Caller: "alice", Callee: "bob"}
	vax := sun
	vax.littleEndian = true
	for in, want := range map[string]Request{
		announce: call, oldSun: sun, oldVAX: vax,
		lookUp: {
			Format: NTalk, Type: LookUp, Addr: netip.MustParseAddrPort("0.0.0.0:0"), Control: netip.MustParseAddrPort("198.51.100.2:54321"),
			PID: 1234, Caller: "bob", Callee: "alice", TTY: "pts/3",
		},
	} {
		b := bytesOf(t, in)
		f, ok := FormatOf(len(b))
		got, err := ParseRequest(f, b)
		if got != want || err != nil || !ok {
			t.Errorf("%s\n%+v, %v, want\n%+v", in, got, err, want)
		}
		again, err := got.AppendBinary(nil)
		if err != nil || in != lookUp && !bytes.Equal(again, b) {
			t.Errorf("%x\nis written as\n%x, %v", b, again, err)
		}
	}
	if NTalk.Port() != 518 || Talk.Port() != 517 || NTalk.String() != "ntalk" || Talk.String() != "talk" {
		t.Error(NTalk, NTalk.Port(), Talk, Talk.Port())
	}
}

func TestParseResponse(t *testing.T) {
	for in, c := range map[string]struct {
		want Response
		has  bool
	}{
		found:    {Response{Format: NTalk, Type: LookUp, Answer: Success, ID: 7, Addr: alice}, true},
		none:     {Response{Format: NTalk, Type: LookUp, Answer: NotHere}, false},
		oldFound: {Response{Format: Talk, Type: LookUp, Answer: Success, ID: 7, Addr: alice, littleEndian: true}, true},
	} {
		b := bytesOf(t, in)
		got, err := ParseResponse(c.want.Format, b)
		if got != c.want || err != nil || got.HasAddr() != c.has {
			t.Errorf("%s\n%+v, %v, want\n%+v", in, got, err, c.want)
		}
		if again, err := got.AppendBinary(nil); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x\nis written as\n%x, %v", b, again, err)
		}
	}
}

// Only the addresses change.
func TestRewrite(t *testing.T) {
	change := strings.NewReplacer("9c41 0a580002", "0801 c0000235", "d431 0a580002", "0802 c0000235", "0000 00000000 0", "0801 c0000235 0", "d431 c6336402", "0802 c0000235")
	for _, in := range []string{announce, lookUp, oldVAX, oldSun} {
		b := bytesOf(t, in)
		f, _ := FormatOf(len(b))
		if err := Rewrite(f, b, egress, reply); err != nil || !bytes.Equal(b, bytesOf(t, change.Replace(in))) {
			t.Errorf("%s\nbecomes\n%x, %v, want\n%s", in, b, err, change.Replace(in))
		}
		if err := Rewrite(f, b, netip.AddrPort{}, netip.AddrPort{}); err != nil || !bytes.Equal(b, bytesOf(t, change.Replace(in))) {
			t.Errorf("%s\nbecomes\n%x, %v", in, b, err)
		}
	}
	for in, f := range map[string]Format{found: NTalk, oldFound: Talk} {
		b := bytesOf(t, in)
		if err := RewriteResponse(f, b, egress); err != nil || !bytes.Equal(b, bytesOf(t, change.Replace(in))) {
			t.Errorf("%s\nbecomes\n%x, %v", in, b, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	whole := bytesOf(t, announce)
	change := func(at int, v byte) []byte {
		b := bytes.Clone(whole)
		b[at] = v
		return b
	}
	for name, b := range map[string][]byte{
		"empty": nil, "short": whole[:83], "long": append(bytes.Clone(whole), 0), "version 2": change(0, 2),
		"family of IPv6": change(25, 10), "BSD 4.4": change(24, 16),
	} {
		if r, err := ParseRequest(NTalk, b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		before := bytes.Clone(b)
		if err := Rewrite(NTalk, b, egress, reply); !errors.Is(err, ErrMalformed) || !bytes.Equal(b, before) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseRequest(Talk, whole); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	if _, err := ParseResponse(NTalk, whole); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	if _, ok := FormatOf(24); ok {
		t.Error("24 bytes are a request")
	}
	v6 := netip.MustParseAddrPort("[2001:db8::1]:1")
	for name, r := range map[string]Request{
		"long name": {Caller: strings.Repeat("a", 12), Control: control}, "long name of talk": {Format: Talk, Callee: strings.Repeat("a", 9), Control: control},
		"long terminal": {TTY: strings.Repeat("a", 16), Control: control}, "no control address": {}, "IPv6": {Addr: v6, Control: control},
	} {
		if b, err := r.AppendBinary(nil); !errors.Is(err, ErrMalformed) || b != nil {
			t.Errorf("%s: %x, %v", name, b, err)
		}
	}
	if _, err := (Response{Addr: v6}).AppendBinary(nil); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	if err := RewriteResponse(NTalk, bytesOf(t, found), v6); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}
