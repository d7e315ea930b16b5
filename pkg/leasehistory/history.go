package leasehistory

import (
	"net/netip"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

const (
	// maxLeases is how many attachments a History remembers of each address.
	maxLeases = 4
	// maxRemoved is how many addresses of removed attachments a History remembers, at
	// about 350 bytes each. If a node starts a container each minute, this covers eleven
	// days, which is longer than the kernel keeps a flow after its last packet (5 days,
	// nf_conntrack_tcp_timeout_established).
	maxRemoved = 16 << 10
	// maxClockSkew is how far a flow's start time may precede its record: the kernel's
	// clock and ours differ.
	maxClockSkew = 2 * time.Second
	// refreshPause is the least time between two refreshes by Known. The node itself and
	// other hosts may begin many untranslated flows, whose addresses no attachment has. The
	// time from the record of an ADD to the container's first packet is longer.
	refreshPause = 5 * time.Millisecond
)

// Source is where a History reads the records of attachments.
type Source struct {
	// Snapshot returns all records, and a version that differs for each content. It may
	// omit the pods. An unchanged record has the same pointer in each snapshot.
	Snapshot func() (records []*store.Record, version uint64)
	// Refresh updates the snapshot from disk: notifications may be late.
	Refresh func() error
	// Read returns a whole record.
	Read func(masq.Key) (store.Record, bool, error)
}

// History is the address lease history of a node. It is for one goroutine at a time.
type History struct {
	source    Source
	version   uint64
	refreshed time.Time // when Known last refreshed the snapshot
	known     map[*store.Record]bool
	leases    map[netip.Addr][]Lease // the earliest first
	removed   []removal              // the earliest first
}

// Lease is an attachment that has, or had, an address.
type Lease struct {
	Key masq.Key
	Pod masq.Pod
	// OptedOut reports whether the pod's annotation turned off translation.
	OptedOut bool

	// since is by the monotonic clock: setting the clock does not change it.
	since   time.Time
	removed bool
}

// New returns an empty history. The first call of At or Known reads the source.
func New(s Source) *History {
	return &History{source: s, known: map[*store.Record]bool{}, leases: map[netip.Addr][]Lease{}}
}

// At returns the attachment that had an address at a time. A container's first flow may
// precede the notification of its record, so an unknown address refreshes the snapshot.
func (h *History) At(a netip.Addr, t time.Time) (Lease, bool) {
	l, ok := h.find(a, t)
	if !ok && h.source.Refresh() == nil { // a sync logs the error
		l, ok = h.find(a, t)
	}
	return l, ok
}

// Known reports whether an attachment has, or had, an address. Unlike At it refreshes the
// snapshot at a bounded pace, so it may be called for every flow of the node.
func (h *History) Known(a netip.Addr, now time.Time) bool {
	if _, ok := h.find(a, now); ok {
		return true
	}
	if now.Sub(h.refreshed) < refreshPause {
		return false
	}
	h.refreshed = now
	if h.source.Refresh() != nil {
		return false
	}
	_, ok := h.find(a, now)
	return ok
}

func (h *History) find(a netip.Addr, t time.Time) (Lease, bool) {
	if records, version := h.source.Snapshot(); version != h.version {
		h.update(records)
		h.version = version
	}
	for i, l := range slices.Backward(h.leases[a]) {
		if i == 0 || !l.since.After(t.Add(maxClockSkew)) {
			return l, true
		}
	}
	return Lease{}, false
}
