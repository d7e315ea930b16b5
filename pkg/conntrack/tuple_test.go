package conntrack

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/test/assert"
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
	assert.NoError(t, l.dump(t.Context(), msgGet, query{}, func(m *netlink.Message) (bool, error) {
		n++
		var f Flow
		assert.NoError(t, f.UnmarshalBinary(attributes(m)))
		want := known(attributes(m))
		if got := assert.Must(f.AppendBinary(nil))(t); !bytes.Equal(got, want) {
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
func known(b []byte) (out netlink.Encoder) {
	for a := (netlink.Attributes{Rest: b}); a.Next(); {
		switch a.Type {
		case 11, 15, 16, 24: // CTA_USE, CTA_SEQ_ADJ_ORIG, CTA_SEQ_ADJ_REPLY, CTA_SYNPROXY
		case ctaProtoinfo:
			at := out.BeginNest(ctaProtoinfo)
			inner := out.BeginNest(ctaProtoinfoTCP)
			tcp := netlink.Attributes{Rest: a.Data}
			tcp.Next()
			state := netlink.Attributes{Rest: tcp.Data}
			state.Next()
			out.Bytes(ctaProtoState, state.Data)
			out.End(inner)
			out.End(at)
		case ctaTupleOrig, ctaTupleReply, ctaTupleMaster:
			nested(&out, a.Type, a.Data, true)
		case ctaCountersOrig, ctaCountersReply, ctaTimestamp, ctaHelp:
			nested(&out, a.Type, a.Data, false)
		default:
			out.Bytes(a.Type, a.Data)
		}
	}
	return out
}

// nested copies a nest. The kernel marks what is nested only in newer messages.
func nested(out *netlink.Encoder, typ uint16, b []byte, deep bool) {
	at := out.BeginNest(typ)
	for a := (netlink.Attributes{Rest: b}); a.Next(); {
		if deep && (a.Type == ctaTupleIP || a.Type == ctaTupleProto) {
			nested(out, a.Type, a.Data, false)
		} else {
			out.Bytes(a.Type, a.Data)
		}
	}
	out.End(at)
}
