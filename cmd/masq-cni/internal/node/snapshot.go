package node

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Snapshot is the content of the state directory when a command read it.
type Snapshot struct {
	LockPath string // path of masqd's lock
	Records  []store.Record
	// Desired returns the desired state that follows from the records.
	Desired func() report.Desired
	Owners  *report.Owners
	// Refusals are recent ADDs that failed because of annotations.
	Refusals []store.Refusal
	Unread   error    // records that cannot be read
	Damaged  []string // files that were damaged and have been replaced

	again func() (Snapshot, error) // reads the state directory again
}

// Snapshot reads the state directory. If the directory does not exist, a note on stderr
// tells it, once.
func (n *Node) Snapshot() (Snapshot, error) {
	if n.noteMissing != nil && n.StateDirMissing() {
		n.noteMissing()
	}
	return n.SnapshotWithoutNote()
}

// SnapshotWithoutNote is Snapshot for a command that reports a missing directory itself.
func (n *Node) SnapshotWithoutNote() (Snapshot, error) {
	records, err := store.Open(n.StateDir)
	if err != nil {
		return Snapshot{}, err
	}
	s := Snapshot{LockPath: records.LockPath(), again: n.SnapshotWithoutNote}
	s.Records, s.Unread = records.All()
	if errors.Is(s.Unread, fs.ErrPermission) {
		s.Unread = fmt.Errorf("%w; run as root", s.Unread)
	}
	if s.Unread != nil && len(store.ReadErrors(s.Unread)) == 0 {
		return s, s.Unread
	}
	if s.Damaged, err = records.Damaged(); err != nil {
		return s, err
	}
	if s.Refusals, err = records.Refusals(time.Now()); err != nil {
		return s, err
	}
	policy, err := records.Node()
	if err != nil {
		return s, err
	}
	s.Desired = sync.OnceValue(func() report.Desired {
		// Without an answer of the kernel, no port counts as reserved. The queries of
		// rules that follow fail in the same way, and report it.
		reserved, _ := QueryRules((*nft.Conn).ReservedPorts)
		return report.DesiredOf(s.Records, policy, HasAddress, reserved...)
	})
	// Without an answer of the kernel, flows of masqd are unowned: see Desired.
	spoken, _ := QueryRules(func(c *nft.Conn) ([]nft.HelperElement, error) { return c.HelperElements(ruleset.SpokenMap) })
	s.Owners = report.OwnersOf(s.Records).WithSpoken(spoken)
	return s, nil
}

// SnapshotOf returns a snapshot with only the records and owners of the addresses of
// flows. On errors it has fewer records: Snapshot has them all, or returns the error.
func (n *Node) SnapshotOf(flows []conntrack.Flow) (s Snapshot) {
	if records, err := store.Open(n.StateDir); err == nil {
		var addrs []netip.Addr
		for i := range flows {
			addrs = append(addrs, flows[i].Original.Src, flows[i].Reply.Src)
		}
		s.Records, _ = records.WithAddresses(addrs...)
	}
	s.Owners = report.OwnersOf(s.Records)
	return s
}

// Conn is a snapshot and a connection to conntrack.
type Conn struct {
	Snapshot
	*conntrack.Conn
}

// Open reads the state directory and connects to conntrack.
func (n *Node) Open() (x Conn, err error) {
	if x.Snapshot, err = n.Snapshot(); err == nil {
		x.Conn, err = conntrack.Open()
	}
	return x, err
}

// QueryRules calls query with a connection to nftables.
func QueryRules[T any](query func(*nft.Conn) (T, error)) (x T, err error) {
	c, err := nft.Open()
	if err != nil {
		return x, err
	}
	defer func() { _ = c.Close() }()
	return query(c)
}
