package reconcile

import (
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// host stands for the node's kernel and its records.
type host struct {
	links   map[int]bool
	aliases map[masq.HostLink]bool
	netns   map[string]masq.NetNSState
	listing error // of the links
	records map[masq.Key]store.Record
	retired map[masq.Key]time.Time
	now     time.Time
	deleted []string
}

func newHost(records ...store.Record) *host {
	h := &host{
		links: map[int]bool{}, aliases: map[masq.HostLink]bool{}, netns: map[string]masq.NetNSState{},
		records: map[masq.Key]store.Record{}, retired: map[masq.Key]time.Time{}, now: time.Unix(0, 0),
	}
	for _, r := range records {
		h.records[r.Key] = r
	}
	return h
}

func (h *host) Get(k masq.Key) (store.Record, bool, error) {
	r, found := h.records[k]
	_, retired := h.retired[k]
	return r, found && !retired, nil
}

func (h *host) Delete(k masq.Key) error {
	delete(h.records, k)
	h.deleted = append(h.deleted, k.ContainerID)
	return nil
}

func (h *host) Retire(k masq.Key) error {
	h.retired[k] = h.now
	return nil
}

func (h *host) Restore(k masq.Key) (bool, error) {
	if _, ok := h.retired[k]; !ok {
		return false, fs.ErrNotExist
	}
	delete(h.retired, k)
	return true, nil
}

func (h *host) Forget(k masq.Key) error {
	delete(h.retired, k)
	delete(h.records, k)
	return nil
}

func (h *host) Retired() (out []store.Retired, err error) {
	for k, since := range h.retired {
		out = append(out, store.Retired{Record: h.records[k], Since: since})
	}
	slices.SortFunc(out, func(a, b store.Retired) int { return a.Since.Compare(b.Since) })
	return out, nil
}

func (h *host) sweep() *Cleanup {
	return &Cleanup{
		Kernel: store.Kernel{
			Boot:    "boot",
			HasLink: func(i int) (bool, error) { return h.links[i], nil },
			Aliases: func() (map[masq.HostLink]bool, error) { return h.aliases, h.listing },
			NetNS:   func(n masq.NetNS) masq.NetNSState { return h.netns[n.Path] },
		},
		Records: h, Grace: time.Minute, Log: slog.New(slog.DiscardHandler),
	}
}

// inUse is what the cache has of the records, slim as there.
func (h *host) inUse() (out []*store.Record) {
	for k, r := range h.records {
		if _, retired := h.retired[k]; !retired {
			r.Evidence = slimEvidence(r.Evidence, func(s string) string { return s })
			out = append(out, &r)
		}
	}
	slices.SortFunc(out, store.Compare)
	return out
}

// run sweeps, and returns the containers whose records are not in use afterwards.
func (h *host) run(t *testing.T, s *Cleanup) (out []string) {
	t.Helper()
	if _, err := s.Run(h.now, h.inUse()); err != nil {
		t.Fatal(err)
	}
	out = slices.Clone(h.deleted)
	for k := range h.retired {
		out = append(out, k.ContainerID)
	}
	slices.Sort(out)
	return out
}

func chained(e *masq.Evidence) store.Record {
	r := record("x")
	r.Chained, r.Ready, r.Evidence = true, true, e
	return r
}

func own(id string, index int) store.Record {
	r := record(id)
	r.Ready = true
	r.Evidence = &masq.Evidence{Boot: "boot", Links: []masq.HostLink{r.HostLink(index)}, NetNS: &masq.NetNS{Path: "/ns/" + id}}
	return r
}

// What proves that a container is gone, and what does not.
func TestProof(t *testing.T) {
	veth := []masq.HostLink{{Index: 7, Name: "veth7"}}
	ns := &masq.NetNS{Path: "/ns/x"}
	for name, c := range map[string]struct {
		record store.Record
		host   func(h *host)
		gone   bool
	}{
		"nothing is known":                  {record: chained(&masq.Evidence{Boot: "boot"})},
		"names of an earlier version":       {record: func() store.Record { r := chained(nil); r.Links = []string{"eth0", "cni0"}; return r }()},
		"the link is there":                 {record: chained(&masq.Evidence{Links: veth}), host: func(h *host) { h.links[7] = true }},
		"the link is gone":                  {record: chained(&masq.Evidence{Links: veth}), gone: true},
		"the link is gone, its ns unknown":  {record: chained(&masq.Evidence{Links: veth, NetNS: ns}), gone: true},
		"the link is gone, its ns is there": {record: chained(&masq.Evidence{Links: veth, NetNS: ns}), host: func(h *host) { h.netns["/ns/x"] = masq.NetNSAlive }},
		"the ns is unknown":                 {record: chained(&masq.Evidence{NetNS: ns})},
		"the ns is there":                   {record: chained(&masq.Evidence{NetNS: ns}), host: func(h *host) { h.netns["/ns/x"] = masq.NetNSAlive }},
		"the ns is gone":                    {record: chained(&masq.Evidence{NetNS: ns}), host: func(h *host) { h.netns["/ns/x"] = masq.NetNSGone }, gone: true},
		"the path is gone, the link is not": {record: chained(&masq.Evidence{Links: veth, NetNS: ns}), host: func(h *host) { h.links[7], h.netns["/ns/x"] = true, masq.NetNSGone }},
		"one of two links is there": {
			record: chained(&masq.Evidence{Links: []masq.HostLink{{Index: 7}, {Index: 8}}}),
			host:   func(h *host) { h.links[8] = true },
		},
		"the link has another index": {
			record: chained(&masq.Evidence{Links: []masq.HostLink{{Index: 7, Alias: "pod x", Group: 3}}}),
			host:   func(h *host) { h.aliases[masq.HostLink{Alias: "pod x", Group: 3}] = true },
		},
		"another boot":               {record: chained(&masq.Evidence{Boot: "earlier", Links: veth}), host: func(h *host) { h.links[7] = true }, gone: true},
		"ours is there":              {record: own("x", 7), host: func(h *host) { h.links[7] = true }},
		"ours is gone":               {record: own("x", 7), gone: true},
		"ours has moved":             {record: own("x", 7), host: func(h *host) { h.aliases[masq.HostLink{Alias: "net/x/eth0", Group: masq.UncheckedGroup}] = true }},
		"ours, ns is there":          {record: own("x", 7), host: func(h *host) { h.netns["/ns/x"] = masq.NetNSAlive }},
		"ours of an earlier version": {record: func() store.Record { r := own("x", 7); r.Evidence = nil; return r }(), gone: true},
		"ours of an earlier version is there": {
			record: func() store.Record { r := own("x", 7); r.Evidence = nil; return r }(),
			host:   func(h *host) { h.aliases[masq.HostLink{Alias: "net/x/eth0", Group: masq.CheckedGroup}] = true },
		},
		"not ready, no link": {record: func() store.Record { r := own("x", 7); r.Ready = false; return r }(), gone: true},
		"not ready, chained": {record: func() store.Record { r := chained(&masq.Evidence{}); r.Ready = false; return r }()},
		"not ready, chained, ns gone": {
			record: func() store.Record { r := chained(&masq.Evidence{NetNS: ns}); r.Ready = false; return r }(),
			host:   func(h *host) { h.netns["/ns/x"] = masq.NetNSGone }, gone: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(c.record)
			if c.host != nil {
				c.host(h)
			}
			s := h.sweep()
			s.Grace = 0
			if got := len(h.run(t, s)) > 0; got != c.gone {
				t.Errorf("removed: %t", got)
			}
		})
	}
}

// What two proofs say is not kept aside.
func TestCertain(t *testing.T) {
	h := newHost(own("x", 7))
	h.netns["/ns/x"] = masq.NetNSGone
	s := h.sweep()
	s.Grace = 0
	h.run(t, s)
	if !slices.Equal(h.deleted, []string{"x"}) || len(h.retired) > 0 {
		t.Errorf("deleted %v, retired %v", h.deleted, h.retired)
	}
}

// A list of links that may be incomplete proves nothing.
func TestNoProofFromAnIncompleteList(t *testing.T) {
	h := newHost(own("x", 7))
	h.listing = errors.New("the list changed")
	s := h.sweep()
	s.Grace = 0
	if done, err := s.Run(h.now, h.inUse()); !errors.Is(err, h.listing) || done != (CleanupResult{}) {
		t.Errorf("%+v, %v", done, err)
	}
}

// The proof has to hold for the grace.
func TestSweepGrace(t *testing.T) {
	h := newHost(own("alive", 1), own("dies", 2))
	h.links[1], h.links[2] = true, true
	s := h.sweep()
	after := func(d time.Duration, want ...string) {
		t.Helper()
		h.now = h.now.Add(d)
		if got := h.run(t, s); !slices.Equal(got, want) {
			t.Errorf("at %s removed %v, not %v", h.now, got, want)
		}
	}
	after(0)
	h.links[2] = false
	after(0)
	after(59 * time.Second)
	h.links[2] = true // it comes back: the time begins anew
	after(0)
	h.links[2] = false
	after(30 * time.Second)
	after(61*time.Second, "dies")
}

// What was removed comes back when its container does, also with another daemon.
func TestSweepRestores(t *testing.T) {
	h := newHost(own("x", 7))
	s := h.sweep()
	s.Grace = 0
	if got := h.run(t, s); len(got) != 1 {
		t.Fatalf("removed %v", got)
	}
	h.now = h.now.Add(time.Hour)
	if got := h.run(t, s); len(got) != 1 {
		t.Error("restored without evidence")
	}
	h.netns["/ns/x"] = masq.NetNSAlive
	s = h.sweep()
	done, err := s.Run(h.now, h.inUse())
	if err != nil || done.Restored != 1 || len(h.retired) != 0 {
		t.Errorf("%+v, %v, retired %v", done, err, h.retired)
	}
}

// halfRead is a host with a retired record that cannot be read.
type halfRead struct {
	*host
	err error
}

func (h *halfRead) Retired() ([]store.Retired, error) {
	all, err := h.host.Retired()
	return all, errors.Join(err, h.err)
}

// A retired record that cannot be read does not keep the others from being restored, and
// is read again.
func TestSweepRestoresBesideAnError(t *testing.T) {
	h := newHost(own("x", 7), own("y", 8))
	failing := &halfRead{h, errors.New("too many open files")}
	s := h.sweep()
	s.Records = failing
	h.retired[own("x", 7).Key] = h.now
	h.links[7], h.links[8] = true, true
	if done, err := s.Run(h.now, h.inUse()); !errors.Is(err, failing.err) || done.Restored != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	h.retired[own("y", 8).Key] = h.now
	failing.err = nil
	if done, err := s.Run(h.now, h.inUse()); err != nil || done.Restored != 1 || len(h.retired) != 0 {
		t.Errorf("%+v, %v, retired %v", done, err, h.retired)
	}
}

// Retired records are bounded in age and number.
func TestRetiredAreForgotten(t *testing.T) {
	var all []store.Record
	for i := range maxRetired + 2 {
		all = append(all, own(string(rune('a'+i%26))+time.Duration(i).String(), 100+i))
	}
	h := newHost(all...)
	s := h.sweep()
	s.Grace = 0
	h.run(t, s)
	if got := h.run(t, s); len(got) != maxRetired {
		t.Errorf("%d are kept", len(got))
	}
	h.now = h.now.Add(retiredAge + time.Second)
	if got := h.run(t, s); len(got) != 0 {
		t.Errorf("%d are kept after %s", len(got), retiredAge)
	}
}
