package conntrack

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTupleString(t *testing.T) {
	zoned := tuple(unix.IPPROTO_GRE, "[fd00::1]:1", "[fd00::2]:2")
	zoned.Zone = 7
	other := tuple(50, "10.0.0.1:0", "10.0.0.2:0")
	for want, x := range map[string]Tuple{
		"tcp 10.0.0.1:1 > 192.0.2.1:80":                 tuple(unix.IPPROTO_TCP, "10.0.0.1:1", "192.0.2.1:80"),
		"gre [fd00::1]:1 > [fd00::2]:2 zone 7":          zoned,
		"icmp 10.0.0.1 > 192.0.2.1 type 8 code 0 id 5":  echo("10.0.0.1", "192.0.2.1", 5),
		"icmpv6 fd00::1 > fd00::2 type 128 code 0 id 5": echo("fd00::1", "fd00::2", 5),
		"proto-50 10.0.0.1 > 10.0.0.2":                  other,
		"proto-0 invalid IP > invalid IP":               {},
	} {
		if got := x.String(); got != want {
			t.Errorf("got %q, not %q", got, want)
		}
	}
}

// What the kernel wrote we write, byte for byte, but for what Flow has no field for.
func TestWritesWhatTheKernelWrites(t *testing.T) {
	l := newLab(t)
	l.traffic(t)
	l.insert(mixture()...)
	n := 0
	check(t, l.dump(t.Context(), msgGet, query{}, func(m *message) (bool, error) {
		n++
		var f Flow
		check(t, f.UnmarshalBinary(m.attributes()))
		want := known(m.attributes())
		if got := must(f.AppendBinary(nil))(t); !bytes.Equal(got, want) {
			t.Fatalf("%+v\n%x\nnot %x", f, got, want)
		}
		return true, nil
	}))
	if n < len(mixture())+12 {
		t.Errorf("%d flows", n)
	}
}

// known leaves out what Flow does not keep: use, sequence numbers, SYN cookies, and of TCP all
// but the state.
func known(b []byte) []byte {
	var out []byte
	for a := (attrs{rest: b}); a.next(); {
		switch a.typ {
		case 11, 15, 16, 24: // CTA_USE, CTA_SEQ_ADJ_ORIG, CTA_SEQ_ADJ_REPLY, CTA_SYNPROXY
		case ctaProtoinfo:
			var at, inner int
			out, at = begin(out, ctaProtoinfo)
			out, inner = begin(out, ctaProtoinfoTCP)
			tcp := attrs{rest: a.data}
			tcp.next()
			state := attrs{rest: tcp.data}
			state.next()
			out = put(out, ctaProtoState, state.data...)
			out = end(end(out, inner), at)
		case ctaTupleOrig, ctaTupleReply, ctaTupleMaster:
			out = nested(out, a.typ, a.data, true)
		case ctaCountersOrig, ctaCountersReply, ctaTimestamp, ctaHelp:
			out = nested(out, a.typ, a.data, false)
		default:
			out = put(out, a.typ, a.data...)
		}
	}
	return out
}

// nested copies a nest. The kernel marks what is nested only in newer messages.
func nested(out []byte, typ uint16, b []byte, deep bool) []byte {
	out, at := begin(out, typ)
	for a := (attrs{rest: b}); a.next(); {
		if deep && (a.typ == ctaTupleIP || a.typ == ctaTupleProto) {
			out = nested(out, a.typ, a.data, false)
		} else {
			out = put(out, a.typ, a.data...)
		}
	}
	return end(out, at)
}
