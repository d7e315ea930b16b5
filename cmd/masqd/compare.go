package main

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

// comparison compares links when /readyz is requested, at a bounded pace. If the node's
// ends of links have faults that no event reported, it requests a sync, which repairs them.
// The containers' ends are compared only with CAP_SYS_ADMIN, which masqd need not have, and
// are not repaired.
type comparison struct {
	links compare.Links
	// records returns the cached records; whole reads one of them from its file.
	records func() []*store.Record
	whole   func(masq.Key) (store.Record, bool, error)
	// begun reports whether the first sync has ended. A comparison at the same time would
	// raise the peak of memory.
	begun func() bool
	// repair asks for a sync of all links; known are the differences that the last one
	// could not repair.
	repair func()
	known  func() []veth.Difference
	asked  chan struct{} // has room for one

	mu     sync.Mutex
	due    time.Time
	reason string
}

const (
	// comparisonPace is the pause after a comparison, in multiples of its duration:
	// comparisons take at most a hundredth of a core.
	comparisonPace = 100
	// comparisonRest is the least such pause.
	comparisonRest = time.Second
	// comparedAtOnce is the number of records that are in memory at once.
	comparedAtOnce = 2048
)

// mayEnter reports whether this process may enter network namespaces.
func mayEnter() bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&head, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// reasons returns the result of the last comparison, and requests the next one if its
// pause is over.
func (c *comparison) reasons() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !time.Now().Before(c.due) {
		select {
		case c.asked <- struct{}{}:
		default:
		}
	}
	if c.reason == "" {
		return nil
	}
	return []string{c.reason}
}

// run compares when it is asked to, until the context ends.
func (c *comparison) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.asked:
		}
		if !c.begun() {
			continue
		}
		begun := time.Now()
		reason := c.compare(ctx)
		c.mu.Lock()
		c.reason, c.due = reason, time.Now().Add(max(comparisonRest, comparisonPace*time.Since(begun)))
		c.mu.Unlock()
	}
}

// compare returns what is wrong with links in a line.
func (c *comparison) compare(ctx context.Context) string {
	var node, containers []compare.Difference
	enter := mayEnter()
	for some := range slices.Chunk(c.records(), comparedAtOnce) {
		var records []store.Record
		for _, r := range some {
			if compare.PairOf(*r) == nil {
				continue
			}
			// A removed or unreadable record is not compared.
			if whole, found, err := c.whole(r.Key); err == nil && found {
				records = append(records, whole)
			}
		}
		found, _ := compare.NodeSide(c.links, records)
		for _, d := range found {
			if d.Identity != "" || !slices.Contains(node, d) { // each part has the node's own
				node = append(node, d)
			}
		}
		for _, r := range records {
			if ctx.Err() != nil {
				return ""
			}
			if !enter {
				break
			}
			// An error is ignored: the container is being removed, or the next comparison
			// fails the same way.
			found, _ := compare.ContainerSide(c.links, []store.Record{r})
			wrong, _ := compare.Split(found)
			containers = append(containers, wrong...)
		}
	}
	known := len(c.known()) > 0
	if len(node) > 0 || known {
		c.repair()
	}
	if known { // linkFaults reports them
		node = nil
	}
	faults := slices.Concat(node, containers)
	if len(faults) == 0 {
		return ""
	}
	first := faults[0].String()
	if id := faults[0].Identity; id != "" {
		first = id + ": " + first
	}
	return fmt.Sprintf("links are not as ADD made them; differences: %d, the first: %s; see: masq-cni inspect drift", len(faults), first)
}
