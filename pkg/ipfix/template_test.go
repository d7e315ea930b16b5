package ipfix

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/natlog"
)

// TestTemplatesAndRecords: numbers and lengths are as in IANA's registry, and each element has
// the value of the record.
func TestTemplatesAndRecords(t *testing.T) {
	a, b := netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("2001:db8:1::9")
	whole := event(1)
	whole.Duration, whole.Packets, whole.Bytes, whole.ICMP = time.Hour, [2]uint64{1 << 40, 2}, [2]uint64{3, 1 << 60}, 0x0800
	six := *whole
	six.Original = natlog.Tuple{Src: netip.AddrPortFrom(a, 1), Dst: netip.AddrPortFrom(b, 443)}
	six.Translated = natlog.Tuple{Src: netip.AddrPortFrom(b, 2), Dst: netip.AddrPortFrom(a, 444)}
	start, startSix := *whole, six
	start.Kind, startSix.Kind = natlog.Begin, natlog.Begin

	n := func(bytes int, v uint64) []byte {
		return binary.BigEndian.AppendUint64(nil, v)[8-bytes:]
	}
	what := func(kind byte) []element {
		return []element{{323, 8, n(8, 1_700_000_000_001)}, {230, 1, []byte{kind}}, {4, 1, []byte{6}}}
	}
	from4 := []element{
		{8, 4, []byte{10, 88, 0, 5}},
		{225, 4, []byte{192, 0, 2, 1}},
		{12, 4, []byte{198, 51, 100, 7}},
		{226, 4, []byte{198, 51, 100, 7}},
		{7, 2, n(2, 1)},
		{227, 2, n(2, 2)},
		{11, 2, n(2, 443)},
		{228, 2, n(2, 443)},
		{32, 2, n(2, 0x0800)},
	}
	from6 := []element{
		{27, 16, a.AsSlice()},
		{281, 16, b.AsSlice()},
		{28, 16, b.AsSlice()},
		{282, 16, a.AsSlice()},
		{7, 2, n(2, 1)},
		{227, 2, n(2, 2)},
		{11, 2, n(2, 443)},
		{228, 2, n(2, 444)},
		{139, 2, n(2, 0x0800)},
	}
	counts := []element{{231, 8, n(8, 3)}, {232, 8, n(8, 1<<60)}, {298, 8, n(8, 1<<40)}, {299, 8, n(8, 2)}, {161, 4, n(4, 3_600_000)}}
	owner := []element{{464, 65535, []byte("pods")}, {350, 65535, []byte("shop/cart-0")}, {348, 65535, []byte("eth0")}, {349, 65535, []byte("4f5e")}}

	all := madeTemplates(t)
	for _, c := range []struct {
		e    *natlog.Record
		id   uint16
		want []element
	}{
		{&start, 256, slices.Concat(what(4), from4, owner)},
		{whole, 257, slices.Concat(what(5), from4, counts, owner)},
		{&startSix, 258, slices.Concat(what(1), from6, owner)},
		{&six, 259, slices.Concat(what(2), from6, counts, owner)},
	} {
		m := described(t, all)
		b, at := beginSet(m, c.id)
		// Values of the previous record must not remain.
		if _, err := all.events[c.id].append(nil, other(c.e)); err != nil {
			t.Fatal(err)
		}
		b, err := all.events[c.id].append(b, c.e)
		if err != nil {
			t.Fatal(err)
		}
		endSet(b, at)
		r := newReading()
		endMessage(b, 0, time.Now())
		if err := r.read(b); err != nil {
			t.Fatal(err)
		}
		var fields [][2]uint16
		for _, x := range c.want {
			fields = append(fields, [2]uint16{x.id, x.length})
			if got := r.records[0][x.id]; !bytes.Equal(got, x.value) {
				t.Errorf("template %d: element %d is %x, want %x", c.id, x.id, got, x.value)
			}
		}
		if !slices.Equal(r.templates[c.id], fields) {
			t.Errorf("template %d is %v, want %v", c.id, r.templates[c.id], fields)
		}
		if want := [][2]uint16{{144, 4}, {42, 8}, {166, 8}, {152, 8}, {153, 8}}; !slices.Equal(r.templates[260], want) || r.scope[260] != 1 {
			t.Errorf("the options template is %v with %d scope fields", r.templates[260], r.scope[260])
		}
	}
}

type element struct {
	id, length uint16
	value      []byte
}

// other returns a record that differs in each element.
func other(e *natlog.Record) *natlog.Record {
	o := *e
	flip := func(a netip.AddrPort) netip.AddrPort {
		b := a.Addr().AsSlice()
		for i := range b {
			b[i] ^= 0xff
		}
		x, _ := netip.AddrFromSlice(b)
		return netip.AddrPortFrom(x, ^a.Port())
	}
	o.Time, o.Proto, o.ICMP, o.Duration = e.Time.Add(time.Hour), ^e.Proto, ^e.ICMP, e.Duration+time.Hour
	o.Original, o.Translated = natlog.Tuple{Src: flip(e.Original.Src), Dst: flip(e.Original.Dst)}, natlog.Tuple{Src: flip(e.Translated.Src), Dst: flip(e.Translated.Dst)}
	o.Packets, o.Bytes = [2]uint64{7, 7}, [2]uint64{7, 7}
	o.Owner = natlog.Owner{
		Key: masq.Key{Network: "another-network", ContainerID: "0123456789", Interface: "net1"},
		Pod: masq.Pod{Namespace: "another", Name: "one"},
	}
	return &o
}

func TestEventKinds(t *testing.T) {
	four, six := netip.MustParseAddrPort("192.0.2.1:5"), netip.MustParseAddrPort("[2001:db8::7]:443")
	for _, c := range []struct {
		a    netip.AddrPort
		what natlog.Kind
		kind byte
		id   uint16
	}{{four, natlog.Begin, 4, 256}, {four, natlog.End, 5, 257}, {six, natlog.Begin, 1, 258}, {six, natlog.End, 2, 259}} {
		r := &natlog.Record{Kind: c.what, Original: natlog.Tuple{Src: c.a, Dst: c.a}, Translated: natlog.Tuple{Src: c.a, Dst: c.a}}
		if id := templateOf(r); id != c.id || eventType(r) != c.kind {
			t.Errorf("%s: %v, %d", c.a, id, eventType(r))
		}
	}
}

// TestLongNames: names of the lengths that Kubernetes allows, and longer ones.
func TestLongNames(t *testing.T) {
	for _, n := range []int{0, 1, 190, 191, 252, 253} {
		e := event(0)
		e.Owner.Pod = masq.Pod{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("p", n)}
		want := e.Owner.Namespace + "/" + e.Owner.Name
		if n == 0 {
			want = ""
		}
		r := newReading()
		all := madeTemplates(t)
		c := newQueue(1<<20, all.events)
		if ok, _, err := c.put(begin4.id, e); !ok || err != nil {
			t.Fatal(err)
		}
		m, _, _ := fill(described(t, all), c.take(), 1<<16)
		endMessage(m, 0, time.Now())
		if err := r.read(m); err != nil {
			t.Fatal(err)
		}
		if got := string(r.records[0][350]); got != want {
			t.Errorf("name of %d bytes: got %q", n, got)
		}
		if got := string(r.records[0][349]); got != "4f5e" {
			t.Errorf("name of %d bytes: the next element is %q", n, got)
		}
	}
	if n := len(clip(strings.Repeat("x", 600))); n != maxText {
		t.Errorf("a long text has %d bytes, want %d", n, maxText)
	}
}

// TestTextIsUTF8: a name that is cut within a character, or that is not UTF-8, becomes valid
// UTF-8. Other names are unchanged.
func TestTextIsUTF8(t *testing.T) {
	for name, want := range map[string]string{
		"shop/web":                      "shop/web",
		"\x1b[2J\u202e日本\n":             "\x1b[2J\u202e日本\n",
		"a\xff\xfeb":                    "a?b",
		strings.Repeat("x", 319) + "日本": strings.Repeat("x", 319) + "?",
		strings.Repeat("\xff", 600):     "?",
	} {
		if got := text(name); got != want || !utf8.ValidString(got) || len(got) > maxText {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func madeTemplates(t testing.TB) templates {
	t.Helper()
	all, err := newTemplates()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// described returns a message that begins with the templates.
func described(t testing.TB, all templates) []byte {
	t.Helper()
	m, err := all.append(beginMessage(nil))
	if err != nil {
		t.Fatal(err)
	}
	return m
}
