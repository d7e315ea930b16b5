package reconcile

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// cleanupTest is a cleanup over a directory of records and a kernel that a test describes.
type cleanupTest struct {
	links   map[int]bool
	aliases map[masq.HostLink]bool
	netns   map[string]masq.NetNSState
	listErr error // of Aliases
	records *store.Records
	now     time.Time
	cleanup
}

func newCleanupTest(t *testing.T, grace time.Duration, records ...store.Record) *cleanupTest {
	t.Helper()
	r, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		if err := r.Put(rec); err != nil {
			t.Fatal(err)
		}
	}
	c := &cleanupTest{links: map[int]bool{}, aliases: map[masq.HostLink]bool{}, netns: map[string]masq.NetNSState{}, records: r, now: time.Now()}
	c.restart(grace)
	return c
}

// restart replaces the cleanup, as a restart of masqd does.
func (c *cleanupTest) restart(grace time.Duration) {
	c.cleanup = cleanup{
		records: c.records, grace: grace, log: slog.New(slog.DiscardHandler),
		evidence: store.Probes{
			Boot:    "boot",
			HasLink: func(i int) (bool, error) { return c.links[i], nil },
			Aliases: func() (map[masq.HostLink]bool, error) { return c.aliases, c.listErr },
			NetNS:   func(n masq.NetNS) masq.NetNSState { return c.netns[n.Path] },
		},
	}
}

// run runs the cleanup with the records that a Cache has.
func (c *cleanupTest) run() (removed, restored int, err error) {
	cache := newCache(c.records)
	if err := cache.Reload(); err != nil {
		return 0, 0, err
	}
	return c.cleanup.run(c.now, cache.Snapshot().Records)
}

// inUse runs the cleanup, and returns the containers whose records are in use afterwards.
func (c *cleanupTest) inUse(t *testing.T) (out []string) {
	t.Helper()
	if _, _, err := c.run(); err != nil {
		t.Fatal(err)
	}
	all, err := c.records.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		out = append(out, r.ContainerID)
	}
	slices.Sort(out)
	return out
}

// retiredFiles returns the number of retired records.
func (c *cleanupTest) retiredFiles(t *testing.T) int {
	t.Helper()
	all, err := c.records.Retired()
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func chained(e *masq.Evidence) store.Record {
	r := record("x")
	r.Chained, r.Evidence = true, e
	return r
}

func own(id string, index int) store.Record {
	r := record(id)
	r.Evidence = &masq.Evidence{Boot: "boot", Links: []masq.HostLink{r.HostLink(index)}, NetNS: &masq.NetNS{Path: "/ns/" + id}}
	return r
}

// TestProof: which evidence proves that a container no longer exists.
func TestProof(t *testing.T) {
	veth := []masq.HostLink{{Index: 7, Name: "veth7"}}
	ns := &masq.NetNS{Path: "/ns/x"}
	for name, tt := range map[string]struct {
		record store.Record
		kernel func(c *cleanupTest)
		stale  bool
	}{
		"no evidence":                                {record: chained(&masq.Evidence{Boot: "boot"})},
		"link names of an earlier version":           {record: func() store.Record { r := chained(nil); r.Links = []string{"eth0", "cni0"}; return r }()},
		"the link exists":                            {record: chained(&masq.Evidence{Links: veth}), kernel: func(c *cleanupTest) { c.links[7] = true }},
		"the link is missing":                        {record: chained(&masq.Evidence{Links: veth}), stale: true},
		"the link is missing, its namespace unknown": {record: chained(&masq.Evidence{Links: veth, NetNS: ns}), stale: true},
		"the link is missing, its namespace exists":  {record: chained(&masq.Evidence{Links: veth, NetNS: ns}), kernel: func(c *cleanupTest) { c.netns["/ns/x"] = masq.NetNSAlive }},
		"the namespace is unknown":                   {record: chained(&masq.Evidence{NetNS: ns})},
		"the namespace exists":                       {record: chained(&masq.Evidence{NetNS: ns}), kernel: func(c *cleanupTest) { c.netns["/ns/x"] = masq.NetNSAlive }},
		"the namespace is missing":                   {record: chained(&masq.Evidence{NetNS: ns}), kernel: func(c *cleanupTest) { c.netns["/ns/x"] = masq.NetNSRemoved }, stale: true},
		"the namespace is missing, the link exists":  {record: chained(&masq.Evidence{Links: veth, NetNS: ns}), kernel: func(c *cleanupTest) { c.links[7], c.netns["/ns/x"] = true, masq.NetNSRemoved }},
		"one of two links exists": {
			record: chained(&masq.Evidence{Links: []masq.HostLink{{Index: 7}, {Index: 8}}}),
			kernel: func(c *cleanupTest) { c.links[8] = true },
		},
		"the link has another index": {
			record: chained(&masq.Evidence{Links: []masq.HostLink{{Index: 7, Alias: "pod x", Group: 3}}}),
			kernel: func(c *cleanupTest) { c.aliases[masq.HostLink{Alias: "pod x", Group: 3}] = true },
		},
		"another boot":                              {record: chained(&masq.Evidence{Boot: "earlier", Links: veth}), kernel: func(c *cleanupTest) { c.links[7] = true }, stale: true},
		"main mode, the link exists":                {record: own("x", 7), kernel: func(c *cleanupTest) { c.links[7] = true }},
		"main mode, the link is missing":            {record: own("x", 7), stale: true},
		"main mode, the link has another index":     {record: own("x", 7), kernel: func(c *cleanupTest) { c.aliases[masq.HostLink{Alias: "net/x/eth0", Group: masq.UncheckedGroup}] = true }},
		"main mode, the namespace exists":           {record: own("x", 7), kernel: func(c *cleanupTest) { c.netns["/ns/x"] = masq.NetNSAlive }},
		"main mode, a record of an earlier version": {record: func() store.Record { r := own("x", 7); r.Evidence = nil; return r }(), stale: true},
		"main mode, a record of an earlier version, the link exists": {
			record: func() store.Record { r := own("x", 7); r.Evidence = nil; return r }(),
			kernel: func(c *cleanupTest) { c.aliases[masq.HostLink{Alias: "net/x/eth0", Group: masq.CheckedGroup}] = true },
		},
		"pending, no link": {record: func() store.Record { r := own("x", 7); r.Ready = false; return r }(), stale: true},
		"pending, chained": {record: func() store.Record { r := chained(&masq.Evidence{}); r.Ready = false; return r }()},
		"pending, chained, the namespace is missing": {
			record: func() store.Record { r := chained(&masq.Evidence{NetNS: ns}); r.Ready = false; return r }(),
			kernel: func(c *cleanupTest) { c.netns["/ns/x"] = masq.NetNSRemoved }, stale: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCleanupTest(t, 0, tt.record)
			if tt.kernel != nil {
				tt.kernel(c)
			}
			if got := len(c.inUse(t)) == 0; got != tt.stale {
				t.Errorf("removed: %t", got)
			}
		})
	}
}

// TestCertainProofDeletes: a record is deleted, and not kept as a retired one, if the proof
// is certain.
func TestCertainProofDeletes(t *testing.T) {
	c := newCleanupTest(t, 0, own("x", 7))
	c.netns["/ns/x"] = masq.NetNSRemoved
	if got := c.inUse(t); len(got) > 0 || c.retiredFiles(t) > 0 {
		t.Errorf("in use %v, %d retired", got, c.retiredFiles(t))
	}
}

// TestIncompleteListProvesNothing: a list of links that may be incomplete proves nothing.
func TestIncompleteListProvesNothing(t *testing.T) {
	c := newCleanupTest(t, 0, own("x", 7))
	c.listErr = errors.New("the list changed")
	if removed, _, err := c.run(); !errors.Is(err, c.listErr) || removed != 0 {
		t.Errorf("%d removed, %v", removed, err)
	}
}

// TestCleanupGrace: the proof has to hold for the grace.
func TestCleanupGrace(t *testing.T) {
	c := newCleanupTest(t, time.Minute, own("alive", 1), own("stale", 2))
	c.links[1], c.links[2] = true, true
	after := func(d time.Duration, want ...string) {
		t.Helper()
		c.now = c.now.Add(d)
		if got := c.inUse(t); !slices.Equal(got, want) {
			t.Errorf("in use %v, not %v", got, want)
		}
	}
	after(0, "alive", "stale")
	c.links[2] = false
	after(0, "alive", "stale")
	after(59*time.Second, "alive", "stale")
	c.links[2] = true // the grace starts again
	after(0, "alive", "stale")
	c.links[2] = false
	after(30*time.Second, "alive", "stale")
	after(61*time.Second, "alive")
}

// TestCleanupRestores: a removed attachment is restored if its container exists, also after
// a restart of masqd.
func TestCleanupRestores(t *testing.T) {
	c := newCleanupTest(t, 0, own("x", 7))
	if got := c.inUse(t); len(got) != 0 {
		t.Fatalf("in use %v", got)
	}
	c.now = c.now.Add(time.Hour)
	if got := c.inUse(t); len(got) != 0 {
		t.Error("restored without evidence")
	}
	c.netns["/ns/x"] = masq.NetNSAlive
	c.restart(time.Minute)
	if _, restored, err := c.run(); err != nil || restored != 1 || c.retiredFiles(t) != 0 {
		t.Errorf("%d restored, %d retired, %v", restored, c.retiredFiles(t), err)
	}
}

// TestCleanupRestoresDespiteAnError: a retired record that cannot be read does not prevent
// the others from being restored, and is read again.
func TestCleanupRestoresDespiteAnError(t *testing.T) {
	x, y := own("x", 7), own("y", 8)
	c := newCleanupTest(t, 0, x, y)
	c.links[7], c.links[8] = true, true
	if err := errors.Join(c.records.Retire(x.Key), c.records.Retire(y.Key)); err != nil {
		t.Fatal(err)
	}
	path := strings.TrimSuffix(c.records.PathOf(y.Digest()), ".json") + ".retired"
	// A directory in place of the file cannot be read.
	if err := errors.Join(os.Rename(path, path+".aside"), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, restored, err := c.run(); err == nil || restored != 1 {
		t.Errorf("%d restored, %v", restored, err)
	}
	if err := errors.Join(os.Remove(path), os.Rename(path+".aside", path)); err != nil {
		t.Fatal(err)
	}
	if _, restored, err := c.run(); err != nil || restored != 1 || c.retiredFiles(t) != 0 {
		t.Errorf("%d restored, %d retired, %v", restored, c.retiredFiles(t), err)
	}
}

// TestRetiredAreForgotten: retired records are bounded in age and number.
func TestRetiredAreForgotten(t *testing.T) {
	var all []store.Record
	for i := range maxRetired + 2 {
		all = append(all, own(fmt.Sprint("c", i), 100+i))
	}
	c := newCleanupTest(t, 0, all...)
	c.inUse(t)
	c.inUse(t)
	if got := c.retiredFiles(t); got != maxRetired {
		t.Errorf("%d are kept", got)
	}
	c.now = c.now.Add(maxRetiredAge + time.Hour) // the files have the time of the machine's clock
	c.inUse(t)
	if got := c.retiredFiles(t); got != 0 {
		t.Errorf("%d are kept after %s", got, maxRetiredAge)
	}
}
