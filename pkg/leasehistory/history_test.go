package leasehistory

import (
	"net/netip"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// fakeSource is the records that a test gives to a History.
type fakeSource struct {
	records []*store.Record
	version uint64
	pods    map[masq.Key]masq.Pod
	refresh func()
}

func (f *fakeSource) set(records ...*store.Record) { f.records, f.version = records, f.version+1 }

func (f *fakeSource) source() Source {
	return Source{
		Snapshot: func() ([]*store.Record, uint64) { return f.records, f.version },
		Refresh: func() error {
			if f.refresh != nil {
				f.refresh()
			}
			return nil
		},
		Read: func(k masq.Key) (store.Record, bool, error) {
			for _, r := range f.records {
				if r.Key == k {
					whole := *r
					whole.Pod = f.pods[k]
					return whole, true, nil
				}
			}
			return store.Record{}, false, nil
		},
	}
}

// recordOf returns the record of an attachment that has an address since a time.
func recordOf(id string, a netip.Addr, created time.Time) *store.Record {
	return &store.Record{Attachment: masq.Attachment{
		Key: masq.Key{Network: "n", ContainerID: id, Interface: "eth0"}, Addresses: []netip.Addr{a},
	}, Created: created, Ready: true}
}

// The end of a flow may be reported after another container received the address.
func TestAttachmentOfAnAddress(t *testing.T) {
	addr := netip.MustParseAddr("10.88.0.5")
	f := &fakeSource{pods: map[masq.Key]masq.Pod{}}
	h := New(f.source())
	start := time.Unix(1000, 0)
	give := func(id string, at time.Time) {
		r := recordOf(id, addr, at)
		f.pods[r.Key] = masq.Pod{Name: "pod-" + id}
		f.set(r)
	}
	attachmentAt := func(at time.Time) string {
		l, ok := h.At(addr, at)
		if !ok {
			return ""
		}
		return l.Key.ContainerID + " " + l.Pod.Name
	}
	if got := attachmentAt(start); got != "" {
		t.Errorf("an unused address belongs to %q", got)
	}
	for i, id := range []string{"a", "b", "c", "d", "e", "f"} {
		give(id, start.Add(time.Duration(i)*time.Minute))
		if got := attachmentAt(start.Add(time.Duration(i)*time.Minute + time.Second)); got != id+" pod-"+id {
			t.Errorf("attachment %d is %q", i+1, got)
		}
	}
	for at, want := range map[time.Duration]string{
		5*time.Minute + 30*time.Second: "f pod-f",
		4*time.Minute + 30*time.Second: "e pod-e",
		2*time.Minute + 30*time.Second: "c pod-c",
		5*time.Minute - maxClockSkew/2: "f pod-f", // within the clock skew
	} {
		if got := attachmentAt(start.Add(at)); got != want {
			t.Errorf("at %s: %q, want %q", at, got, want)
		}
	}
	f.set()
	if got := attachmentAt(start.Add(time.Hour)); got != "f pod-f" {
		t.Errorf("after its removal the attachment is %q", got)
	}
	// The clock was set back an hour, so records have creation times in the future: the
	// latest record applies.
	for i, id := range []string{"g", "h"} {
		give(id, time.Now().Add(time.Duration(30+20*i)*time.Minute))
		if got := attachmentAt(time.Now()); got != id+" pod-"+id {
			t.Errorf("after the clock was set back: %q, want %q", got, id)
		}
	}
}

// A container's first flow may precede the notification of its record.
func TestRefreshFindsNewRecord(t *testing.T) {
	addr := netip.MustParseAddr("10.88.0.5")
	r := recordOf("c", addr, time.Time{})
	f := &fakeSource{}
	f.refresh = func() { f.set(r) }
	if l, ok := New(f.source()).At(addr, time.Now()); !ok || l.Key != r.Key {
		t.Errorf("At: %+v, %t", l, ok)
	}
}

// Untranslated flows of the node and of other hosts must not read the disk for each flow.
func TestKnownRefreshesAtABoundedPace(t *testing.T) {
	f, refreshes := &fakeSource{}, 0
	f.refresh = func() { refreshes++ }
	h, now := New(f.source()), time.Now()
	for i := range 100 {
		if h.Known(netip.MustParseAddr("192.0.2.1"), now.Add(time.Duration(i)*refreshPause/10)) {
			t.Fatal("an address without attachment is known")
		}
	}
	if refreshes != 10 {
		t.Errorf("%d refreshes for 100 flows, want 10", refreshes)
	}
}
