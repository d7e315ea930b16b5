package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

const (
	// linkCheckPause is the pause after a check, in multiples of its duration: checks take
	// at most a hundredth of a core.
	linkCheckPause = 100
	// minLinkCheckPause is the least pause after a check.
	minLinkCheckPause = time.Second
	// linkCheckChunk is the number of whole records that are in memory at the same time.
	linkCheckChunk = 2048
)

// linkCheck compares all links with what ADD made when /readyz is requested, at a bounded
// pace. It requests a sync for differences of the node's ends that no event reported. It
// compares the containers' ends only with CAP_SYS_ADMIN, which masqd need not have, and
// does not repair them.
type linkCheck struct {
	links compare.Links
	// cached returns all records, and read a whole record.
	cached func() []*store.Record
	read   func(masq.Key) (store.Record, bool, error)
	// synced reports whether the first sync has ended. A check at the same time would raise
	// the peak of memory.
	synced func() bool
	// requestRepair requests a sync of all links, and unrepaired returns the differences that
	// the last sync could not repair.
	requestRepair func()
	unrepaired    func() []veth.Difference
	requests      chan struct{} // has room for one

	mu      sync.Mutex
	nextDue time.Time
	note    string
}

// notes returns the result of the last check, and requests a check after the pause.
func (c *linkCheck) notes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !time.Now().Before(c.nextDue) {
		select {
		case c.requests <- struct{}{}:
		default:
		}
	}
	if c.note == "" {
		return nil
	}
	return []string{c.note}
}

// run checks on request until the context ends.
func (c *linkCheck) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.requests:
		}
		if !c.synced() {
			continue
		}
		start := time.Now()
		note := c.check(ctx)
		c.mu.Lock()
		c.note, c.nextDue = note, time.Now().Add(max(minLinkCheckPause, linkCheckPause*time.Since(start)))
		c.mu.Unlock()
	}
}

// check returns a sentence about the differences of links, empty if there are none.
func (c *linkCheck) check(ctx context.Context) string {
	var node, containers []compare.Difference
	canEnter := canEnterNamespaces()
	for chunk := range slices.Chunk(c.cached(), linkCheckChunk) {
		var records []store.Record
		for _, r := range chunk {
			if compare.PairOf(*r) == nil {
				continue
			}
			// A removed or unreadable record is not compared.
			if whole, found, err := c.read(r.Key); err == nil && found {
				records = append(records, whole)
			}
		}
		found, _ := compare.NodeSide(c.links, records)
		for _, d := range found {
			if d.Identity != "" || !slices.Contains(node, d) { // each chunk finds the node's own differences
				node = append(node, d)
			}
		}
		for _, r := range records {
			if ctx.Err() != nil {
				return ""
			}
			if !canEnter {
				break
			}
			// An error is ignored: the container is being removed, or the next check fails too.
			found, _ := compare.ContainerSide(c.links, []store.Record{r})
			wrong, _ := compare.Split(found)
			containers = append(containers, wrong...)
		}
	}
	unrepaired := len(c.unrepaired()) > 0
	if len(node) > 0 || unrepaired {
		c.requestRepair()
	}
	if unrepaired { // readiness has them already
		node = nil
	}
	all := slices.Concat(node, containers)
	if len(all) == 0 {
		return ""
	}
	first := all[0].String()
	if id := all[0].Identity; id != "" {
		first = id + ": " + first
	}
	return fmt.Sprintf("links differ from what ADD made; differences: %d, the first: %s; see: masq-cni inspect drift", len(all), first)
}

// canEnterNamespaces reports whether this process may enter network namespaces.
func canEnterNamespaces() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}
