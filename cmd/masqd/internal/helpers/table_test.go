package helpers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// fakeOwned is an owned table in memory.
type fakeOwned struct {
	mu       sync.Mutex
	elements map[string]ruleset.Element // by set and key
	added    map[string]time.Time       // since when an element exists: adding it again changes nothing
	replaced int
	updated  int
	closed   bool
	fails    func(add []ruleset.SetElements) error
}

func (f *fakeOwned) Replace(t ruleset.Table) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replaced++
	f.elements = map[string]ruleset.Element{}
	for _, s := range t.Sets {
		for _, e := range s.Elements {
			f.elements[s.Name+" "+e.Key] = e
		}
	}
	return nil
}

func (f *fakeOwned) Update(add, remove []ruleset.SetElements) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.updated++
	if f.fails != nil {
		if err := f.fails(add); err != nil {
			return err
		}
	}
	for _, s := range remove {
		for _, e := range s.Elements {
			delete(f.elements, s.Set.Name+" "+e.Key)
		}
	}
	for _, s := range add {
		for _, e := range s.Elements {
			key := s.Set.Name + " " + e.Key
			if _, exists := f.elements[key]; !exists {
				if f.added == nil {
					f.added = map[string]time.Time{}
				}
				f.added[key] = time.Now()
			}
			f.elements[key] = e
		}
	}
	return nil
}

func (f *fakeOwned) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed, f.elements = true, nil
	return nil
}

// has reports whether an element is in a set of a kind for IPv4.
func (f *fakeOwned) has(kind ruleset.SetKind, key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.elements[kind.Of(masq.IPv4)+" "+key]
	return ok
}

func (f *fakeOwned) counts() (replaced, updated int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replaced, f.updated
}

var listening = map[masq.Family]ruleset.Listeners{masq.IPv4: {TCP: netip.MustParseAddrPort("192.0.2.1:40554"), UDP: netip.MustParseAddrPort("192.0.2.1:40518")}}

func rtspPolicy() *masq.Policy {
	p := masq.Default()
	p.Helpers = []masq.Helper{{Name: "rtsp", Ports: []uint16{554}}}
	return &p
}

// attached returns attachments with a policy: their addresses end with the numbers.
func attached(p *masq.Policy, numbers ...int) (out []masq.Attachment) {
	for _, n := range numbers {
		out = append(out, masq.Attachment{
			Key:       masq.Key{Network: "net", ContainerID: fmt.Sprint("c", n), Interface: "eth0"},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 88, 0, byte(n)})}, Policy: p,
		})
	}
	return out
}

// TestTableFollowsAttachments: an attachment costs an element, another policy a new table.
// The table is deleted with the last attachment.
func TestTableFollowsAttachments(t *testing.T) {
	var f *fakeOwned
	table := newTable(func() (owned, error) { f = &fakeOwned{}; return f, nil })
	p := rtspPolicy()
	other := rtspPolicy()
	other.ToPorts = []masq.PortRange{{First: 20000, Last: 29999}}
	for _, step := range []struct {
		name              string
		attachments       []masq.Attachment
		replaced, updated int
	}{
		{"the first", attached(p, 1), 1, 0},
		{"the same", attached(p, 1), 1, 0},
		{"another", attached(p, 1, 2), 1, 1},
		{"one less", attached(p, 2), 1, 2},
		{"another policy", append(attached(p, 2), attached(other, 3)...), 2, 2},
	} {
		if err := table.sync(input{attachments: step.attachments, listeners: listening}); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if replaced, updated := f.counts(); replaced != step.replaced || updated != step.updated {
			t.Errorf("%s: replaced %d times, updated %d times", step.name, replaced, updated)
		}
		for n := 1; n <= 3; n++ {
			want := false
			for _, a := range step.attachments {
				want = want || a.ContainerID == fmt.Sprint("c", n)
			}
			if f.has(ruleset.RedirectMap, fmt.Sprintf("10.88.0.%d . tcp . 554", n)) != want {
				t.Errorf("%s: element of attachment %d, want %t", step.name, n, want)
			}
		}
	}
	plain := masq.Default()
	if err := table.sync(input{attachments: attached(&plain, 1), listeners: listening}); err != nil || !f.closed {
		t.Errorf("without a helper: closed %t, %v", f.closed, err)
	}
}

// TestElementsOfSessionsStay: a new table has the elements of sessions, those with a timeout
// for the time that is left.
func TestElementsOfSessionsStay(t *testing.T) {
	inTable(t, func(ctx context.Context, table *table, f *fakeOwned) {
		all := attached(rtspPolicy(), 1)
		s := ruleset.Spoken{Identity: all[0].Identity(), Local: netip.MustParseAddrPort("192.0.2.1:50000"), Proto: unix.IPPROTO_TCP}
		o := ruleset.Opened{
			Identity: s.Identity, Egress: netip.MustParseAddrPort("192.0.2.1:41000"), Proto: unix.IPPROTO_UDP,
			Peer: netip.MustParseAddr("198.51.100.1"), Client: netip.MustParseAddrPort("10.88.0.1:7000"),
		}
		if err := errors.Join(table.speak(ctx, s, *all[0].Policy), table.allow(ctx, o)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := table.allow(ctx, o); err != nil {
			t.Fatal(err)
		}
		key := ruleset.OpenedKey(o.Egress, o.Proto, o.Peer)
		if at := f.added[ruleset.OpenedMap.Of(masq.IPv4)+" "+key]; !at.Equal(time.Now()) {
			t.Errorf("the element was renewed %s ago", time.Since(at))
		}
		time.Sleep(openedTimeout / 2)
		again := func() {
			t.Helper()
			port := listening[masq.IPv4].TCP.Port() + uint16(f.replaced)
			moved := map[masq.Family]ruleset.Listeners{masq.IPv4: {TCP: netip.AddrPortFrom(egress, port)}}
			if err := table.sync(input{attachments: all, listeners: moved}); err != nil {
				t.Fatal(err)
			}
		}
		again()
		if e := f.elements[ruleset.OpenedMap.Of(masq.IPv4)+" "+key]; e.Timeout != openedTimeout/2 || e.Data != "10.88.0.1 . 7000" {
			t.Errorf("the opened element is %+v", e)
		}
		if !f.has(ruleset.SpokenMap, "192.0.2.1 . tcp . 50000") {
			t.Errorf("elements: %v", f.elements)
		}
		time.Sleep(openedTimeout)
		again()
		if f.has(ruleset.OpenedMap, key) {
			t.Error("an element is made again after its timeout")
		}
		table.silence(s, *all[0].Policy)
		time.Sleep(2 * removalDelay)
		if f.has(ruleset.SpokenMap, "192.0.2.1 . tcp . 50000") {
			t.Error("the element of a connection that has ended stays")
		}
	})
}

// TestTransactionsAreBounded: however many containers connect, there are at most 50
// transactions per second, and each change has its own result.
func TestTransactionsAreBounded(t *testing.T) {
	inTable(t, func(ctx context.Context, table *table, f *fakeOwned) {
		p := rtspPolicy()
		refused := netip.MustParseAddrPort("192.0.2.1:50007")
		f.mu.Lock()
		f.fails = func(add []ruleset.SetElements) error {
			for _, s := range add {
				for _, e := range s.Elements {
					if strings.HasSuffix(e.Key, ". 50007") {
						return errors.New("refused")
					}
				}
			}
			return nil
		}
		f.mu.Unlock()
		var connecting sync.WaitGroup
		for i := range 100 {
			connecting.Go(func() {
				local := netip.AddrPortFrom(egress, uint16(50000+i))
				err := table.speak(ctx, ruleset.Spoken{Local: local, Proto: unix.IPPROTO_TCP}, *p)
				if (err != nil) != (local == refused) {
					t.Errorf("%s: %v", local, err)
				}
			})
		}
		connecting.Wait()
		f.mu.Lock()
		f.fails = nil
		f.mu.Unlock()
		_, before := f.counts()
		start := time.Now()
		for range 2 * transactionBurst {
			for i := range 2 {
				connecting.Go(func() {
					s := ruleset.Spoken{Local: netip.AddrPortFrom(egress, uint16(51000+i)), Proto: unix.IPPROTO_TCP}
					if err := table.speak(ctx, s, *p); err != nil {
						t.Error(err)
					}
					table.silence(s, *p)
				})
			}
			connecting.Wait()
		}
		_, after := f.counts()
		took := time.Since(start)
		if most := int(took/transactionInterval) + transactionBurst + 1; after-before > most || took == 0 {
			t.Errorf("%d transactions in %s", after-before, took)
		}
	})
}

// TestNoTable: without the table, a change is an error.
func TestNoTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(func() (owned, error) { return nil, errors.New("no") })
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go table.run(ctx)
		if err := table.speak(ctx, ruleset.Spoken{Local: listening[masq.IPv4].TCP, Proto: unix.IPPROTO_TCP}, *rtspPolicy()); !errors.Is(err, errNoTable) {
			t.Errorf("speak: %v", err)
		}
		if err := table.sync(input{attachments: attached(rtspPolicy(), 1), listeners: listening}); err == nil {
			t.Error("sync succeeds")
		}
	})
}

// inTable runs a test with the time of synctest and a table with one attachment.
func inTable(t *testing.T, test func(context.Context, *table, *fakeOwned)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeOwned{}
		table := newTable(func() (owned, error) { return f, nil })
		if err := table.sync(input{attachments: attached(rtspPolicy(), 1), listeners: listening}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go table.run(ctx)
		test(ctx, table, f)
	})
}

// TestTableIsMadeAgain: if the kernel lacks a chain or the table, the next
// sync makes the table again.
func TestTableIsMadeAgain(t *testing.T) {
	inTable(t, func(ctx context.Context, table *table, f *fakeOwned) {
		f.fails = func([]ruleset.SetElements) error { return nft.ErrStructure }
		s := ruleset.Spoken{Local: listening[masq.IPv4].TCP, Proto: unix.IPPROTO_TCP}
		if err := table.speak(ctx, s, *rtspPolicy()); !errors.Is(err, nft.ErrStructure) {
			t.Errorf("speak: %v", err)
		}
		f.fails = nil
		if err := table.sync(input{attachments: attached(rtspPolicy(), 1), listeners: listening}); err != nil {
			t.Fatal(err)
		}
		if replaced, _ := f.counts(); replaced != 2 {
			t.Errorf("replaced %d times", replaced)
		}
	})
}
