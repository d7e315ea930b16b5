package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// view is what the records say of a node.
type view struct {
	lock    string // of masqd
	records []store.Record
	desired func() report.Desired
	owners  *report.Owners
	// refusals are recent ADDs that failed because of annotations.
	refusals []store.Refusal
	unread   error    // records that cannot be read
	damaged  []string // files that were damaged and were replaced
}

func (n *node) view() (view, error) {
	if n.missing != nil && n.stateMissing() {
		n.missing()
	}
	return n.readRecords()
}

// readRecords is view of a directory that need not exist.
func (n *node) readRecords() (view, error) {
	records, err := store.Open(n.stateDir)
	if err != nil {
		return view{}, err
	}
	v := view{lock: records.LockPath()}
	v.records, v.unread = records.All()
	if errors.Is(v.unread, fs.ErrPermission) {
		v.unread = fmt.Errorf("%w; run as root", v.unread)
	}
	if v.unread != nil && len(store.ReadErrors(v.unread)) == 0 {
		return v, v.unread
	}
	if v.damaged, err = records.Damaged(); err != nil {
		return v, err
	}
	if v.refusals, err = records.Refusals(time.Now()); err != nil {
		return v, err
	}
	policy, err := records.Node()
	if err != nil {
		return v, err
	}
	v.desired = sync.OnceValue(func() report.Desired {
		// Without an answer none are known. What needs the kernel's rules fails anyway.
		reserved, _ := rules((*nft.Conn).ReservedPorts)
		return report.DesiredOf(v.records, policy, hasAddress, reserved...)
	})
	v.owners = report.OwnersOf(v.records)
	return v, nil
}

// hasAddress reports whether the node has an address.
func hasAddress(a netip.Addr) (bool, error) {
	w, err := veth.Open()
	if err != nil {
		return false, err
	}
	defer func() { _ = w.Close() }()
	return w.HasAddress(a)
}

// viewOf is what the records say of the ends of flows. Where it says nothing, view may
// know more, or why.
func (n *node) viewOf(flows []conntrack.Flow) (v view) {
	if records, err := store.Open(n.stateDir); err == nil {
		var addrs []netip.Addr
		for i := range flows {
			addrs = append(addrs, flows[i].Original.Src, flows[i].Reply.Src)
		}
		v.records, _ = records.Of(addrs...)
	}
	v.owners = report.OwnersOf(v.records)
	return v
}

// live is a view, and the kernel's table.
type live struct {
	view
	*conntrack.Conn
}

func (n *node) live() (x live, err error) {
	if x.view, err = n.view(); err == nil {
		x.Conn, err = conntrack.Open()
	}
	return x, err
}

// wanted reports whether there should be a table.
func (v view) wanted() bool { return len(v.desired().Table.Chains) > 0 }

// rules asks nftables.
func rules[T any](ask func(*nft.Conn) (T, error)) (x T, err error) {
	c, err := nft.Open()
	if err != nil {
		return x, err
	}
	defer func() { _ = c.Close() }()
	return ask(c)
}

func (v view) drift() ([]nft.Difference, error) { return rules(v.compare) }

// compare returns the differences between the kernel and the records. What belongs to
// attachments whose records cannot be read is none: unexpected objects may be theirs.
func (v view) compare(c *nft.Conn) ([]nft.Difference, error) {
	changes, err := c.Drift(v.desired().Table, v.desired().Pending)
	if v.unread != nil {
		changes = slices.DeleteFunc(changes, func(x nft.Difference) bool { return x.Reason == masq.Unexpected })
	}
	for _, e := range store.ReadErrors(v.unread) {
		changes = append(changes, nft.Difference{Kind: "record", Object: e.Path, Reason: masq.Changed, Detail: "cannot be read: " + e.Err.Error() + "; its rules are left as they are"})
	}
	return changes, err
}

// dumps is how often a dump that the kernel calls incomplete is made again.
const dumps = 5

// tally sums up the flows that queries choose. Each comes once: later queries leave
// out what earlier ones chose.
func (v view) tally(ctx context.Context, c *conntrack.Conn, queries []query) (*report.Tally, error) {
	return v.tallyAnd(ctx, c, queries, func() func(*conntrack.Flow) { return func(*conntrack.Flow) {} })
}

// tallyAnd also hands each flow to what begin returns. A dump that is made again begins
// again.
func (v view) tallyAnd(ctx context.Context, c *conntrack.Conn, queries []query, begin func() func(*conntrack.Flow)) (*report.Tally, error) {
	for i := range dumps {
		t, also := report.NewTally(v.owners), begin()
		err := dump(ctx, c, queries, func(f *conntrack.Flow) bool {
			t.Add(f)
			also(f)
			return true
		})
		if err == nil || !errors.Is(err, conntrack.ErrInterrupted) || i == dumps-1 {
			return t, err
		}
	}
	return nil, nil
}

// query is a dump, and what is left out of it.
type query struct {
	conntrack.Filter
	except func(*conntrack.Flow) bool // nil: nothing
}

// dump calls f with the flows of all queries until it returns false.
func dump(ctx context.Context, c *conntrack.Conn, queries []query, f func(*conntrack.Flow) bool) error {
	for _, q := range queries {
		for x, err := range c.Dump(ctx, q.Filter) {
			if err != nil {
				return err
			}
			if q.except != nil && q.except(x) {
				continue
			}
			if !f(x) {
				return nil
			}
		}
	}
	return nil
}

// find returns the indices of the attachments that a name means: a pod with its namespace
// or, where it is the only one of that name, without, or a container by the beginning of
// its ID.
func (v view) find(name string) ([]int, error) {
	found := v.owners.Match(name)
	if len(found) == 0 {
		return nil, fmt.Errorf("no attachment belongs to pod or container %s; give NAMESPACE/NAME, or the beginning of a container's ID, as masq-cni inspect pods -o wide shows them", masq.Quote(name))
	}
	var different []string
	for _, i := range found {
		o := v.owners.At(i)
		what := "container " + report.Clean(o.ContainerID)
		if o.PodName != "" {
			what = report.Clean(o.Pod())
		}
		if !slices.Contains(different, what) {
			different = append(different, what)
		}
	}
	if len(different) > 1 {
		more := ""
		if n := len(different) - maxNamed; n > 0 {
			different, more = different[:maxNamed], fmt.Sprintf(" and %d more", n)
		}
		return nil, fmt.Errorf("%s may be %s%s; give one of them in full", masq.Quote(name), strings.Join(different, ", "), more)
	}
	return found, nil
}

// maxNamed is how many of the pods that a name may mean are named.
const maxNamed = 5
