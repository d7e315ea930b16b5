package main

import (
	"net/netip"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// owners records which attachment had an address at which time. The end of a flow may be
// reported after its container was removed and another container received its address.
type owners struct {
	snapshot func() reconcile.Snapshot
	refresh  func() error                               // updates the snapshot, whose events may be late
	read     func(masq.Key) (store.Record, bool, error) // with the pod
	version  uint64
	// refreshed is when mayBegin refreshed last.
	refreshed time.Time
	known     map[*store.Record]bool
	by        map[netip.Addr][]tenure
	departed  []departure // the earliest first
}

// departure is the end of an attachment at an address.
type departure struct {
	addr netip.Addr
	key  masq.Key
}

// maxDeparted is how many addresses of attachments that are gone are remembered, of
// about 350 bytes each: a node that starts a container a minute remembers eleven days,
// longer than a flow is kept after its last packet (5 days, nf_conntrack_tcp_timeout_established).
const maxDeparted = 16 << 10

// tenure is an attachment that has or had an address, and since when, by the monotonic
// clock: setting the clock does not change it.
type tenure struct {
	since time.Time
	natlog.Owner
	gone bool // the attachment was removed
	// optedOut says that the pod's annotation opted out of translation.
	optedOut bool
}

const (
	// tenures is how many attachments are remembered of each address.
	tenures = 4
	// maxClockSkew is how far a flow's start time may precede its record: the kernel's clock
	// and ours differ.
	maxClockSkew = 2 * time.Second
)

// at returns the attachment that had an address at a time. A container's first flow may
// precede the event of its record, so an unknown address refreshes the snapshot.
func (o *owners) at(a netip.Addr, t time.Time) (tenure, bool) {
	owner, ok := o.heard(a, t)
	if !ok && o.refresh() == nil { // if it fails, a sync logs why
		owner, ok = o.heard(a, t)
	}
	return owner, ok
}

// refreshPause is the least time between two refreshes by mayBegin. Untranslated flows of
// the node itself and of hosts outside may be many, and never have an owner. An ADD takes
// longer than this from its record to the container's first packet.
const refreshPause = 5 * time.Millisecond

// mayBegin reports whether an attachment has, or had, the address that an untranslated
// flow begins from.
func (o *owners) mayBegin(a netip.Addr, now time.Time) bool {
	if _, ok := o.heard(a, now); ok {
		return true
	}
	if now.Sub(o.refreshed) < refreshPause {
		return false
	}
	o.refreshed = now
	if o.refresh() != nil {
		return false
	}
	_, ok := o.heard(a, now)
	return ok
}

func (o *owners) heard(a netip.Addr, t time.Time) (tenure, bool) {
	if s := o.snapshot(); s.Version != o.version {
		o.learn(s)
	}
	for i, x := range slices.Backward(o.by[a]) {
		if i == 0 || !x.since.After(t.Add(maxClockSkew)) {
			return x, true
		}
	}
	return tenure{}, false
}

func (o *owners) learn(s reconcile.Snapshot) {
	now := time.Now()
	known := make(map[*store.Record]bool, len(s.Records))
	for _, r := range s.Records {
		known[r] = true
		if o.known[r] {
			continue
		}
		whole, found, err := o.read(r.Key)
		if err != nil || !found {
			whole = *r // without its pod
		}
		for _, a := range whole.Addresses {
			all := o.by[a]
			optedOut := whole.Policy != nil && whole.Policy.EgressDirect
			if n := len(all); n > 0 && all[n-1].Key == whole.Key {
				all[n-1].Pod, all[n-1].gone, all[n-1].optedOut = whole.Pod, false, optedOut
				continue
			}
			all = append(all, tenure{
				since: now.Add(-max(0, now.Sub(whole.Created))), Owner: natlog.Owner{Key: whole.Key, Pod: whole.Pod}, optedOut: optedOut,
			})
			o.by[a] = all[max(0, len(all)-tenures):]
		}
	}
	o.depart(known)
	o.known, o.version = known, s.Version
}

// depart notes the known attachments that have been removed. It forgets the earliest
// departures if there are more than maxDeparted.
func (o *owners) depart(now map[*store.Record]bool) {
	var keys map[masq.Key]bool // the keys of now: a rewritten record is a new pointer with its old key
	for r := range o.known {
		if now[r] {
			continue
		}
		if keys == nil {
			keys = make(map[masq.Key]bool, len(now))
			for x := range now {
				keys[x.Key] = true
			}
		}
		if keys[r.Key] {
			continue
		}
		for _, a := range r.Addresses {
			for i := range o.by[a] {
				if t := &o.by[a][i]; t.Key == r.Key {
					t.gone = true
				}
			}
			o.departed = append(o.departed, departure{a, r.Key})
		}
	}
	surplus := max(0, len(o.departed)-maxDeparted)
	for _, d := range o.departed[:surplus] {
		left := slices.DeleteFunc(o.by[d.addr], func(t tenure) bool { return t.gone && t.Key == d.key })
		if o.by[d.addr] = left; len(left) == 0 {
			delete(o.by, d.addr)
		}
	}
	o.departed = slices.Delete(o.departed, 0, surplus)
}
