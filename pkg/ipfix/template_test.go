package ipfix

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Each field takes what its template says, whatever the event.
func TestFieldsHaveTheirLength(t *testing.T) {
	six := netip.MustParseAddrPort("[2001:db8::7]:443")
	whole := event(1)
	whole.Duration, whole.Packets, whole.Bytes = time.Hour, [2]uint64{1 << 40, 2}, [2]uint64{3, 1 << 60}
	other := *whole
	other.Original, other.Translated = Tuple{six, six}, Tuple{six, six}
	for _, c := range []struct {
		t *template
		e *Event
	}{{&begin4, whole}, {&end4, whole}, {&begin6, &other}, {&end6, &other}} {
		for _, f := range c.t.fields {
			n := len(f.put(nil, c.e))
			if f.length == variable {
				n -= len(f.put(nil, &Event{Original: c.e.Original, Translated: c.e.Translated}))
				if n <= 0 {
					t.Errorf("%d: %s says nothing", c.t.id, f.name)
				}
			} else if n != int(f.length) {
				t.Errorf("%d: %s takes %d bytes, not %d", c.t.id, f.name, n, f.length)
			}
		}
	}
}

func TestEventKinds(t *testing.T) {
	four, six := netip.MustParseAddrPort("192.0.2.1:5"), netip.MustParseAddrPort("[2001:db8::7]:443")
	for _, c := range []struct {
		a    netip.AddrPort
		end  bool
		kind byte
		id   uint16
	}{{four, false, 4, 256}, {four, true, 5, 257}, {six, false, 1, 258}, {six, true, 2, 259}} {
		e := &Event{End: c.end, Original: Tuple{c.a, c.a}, Translated: Tuple{c.a, c.a}}
		if t0, err := e.template(); err != nil || t0.id != c.id || e.kind() != c.kind {
			t.Errorf("%s: %v, %d, %v", c.a, t0, e.kind(), err)
		}
	}
	e := &Event{Original: Tuple{four, four}}
	if _, err := e.template(); err == nil || !strings.Contains(err.Error(), "give both tuples whole") {
		t.Errorf("%v", err)
	}
}

// Names may be as long as Kubernetes allows, or longer than there is room for.
func TestLongNames(t *testing.T) {
	for _, n := range []int{0, 1, 190, 191, 252, 253} {
		e := event(0)
		e.Pod = masq.Pod{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("p", n)}
		want := e.Pod.Namespace + "/" + e.Pod.Name
		if n == 0 {
			want = ""
		}
		r := newReading()
		c := newQueue(1 << 20)
		if ok, _, err := c.put(&begin4, e); !ok || err != nil {
			t.Fatal(err)
		}
		m := templates(beginMessage(nil, 0))
		m, _, _ = fill(m, c.take(), 1<<16)
		endMessage(m, time.Now())
		if err := r.read(m); err != nil {
			t.Fatal(err)
		}
		if got := string(r.records[0][350]); got != want {
			t.Errorf("%d: %q", n, got)
		}
		if got := string(r.records[0][349]); got != "4f5e" {
			t.Errorf("%d: what follows is %q", n, got)
		}
	}
	if b := text(nil, strings.Repeat("x", 300), strings.Repeat("y", 300)); len(b) != 3+longest || binary.BigEndian.Uint16(b[1:]) != longest {
		t.Errorf("%d bytes", len(b))
	}
}
