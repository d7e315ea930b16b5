package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Options say what to examine.
type Options struct {
	// StateDir is the directory of the records of attachments.
	StateDir string
	// Records are the records of the node. Nil: they are read from StateDir.
	Records []store.Record
	// ConfDir and BinDir are the directories of network configurations and of plugins.
	ConfDir, BinDir string
	// Version is the version of the program. The check of the plugin's version needs it.
	Version string
	// Root is the root of the node's file system; empty for /. Files of other programs that
	// manage interfaces are read below it.
	Root string
	// NATLog is the directory of the NAT log; empty if it is not to be checked.
	NATLog string
	// Summary is the summary of the node that inspect shows. Its problems are findings too.
	// It is nil in masqd.
	Summary *report.Node
	// SetClamp sets the MSS of connections to a prefix until the node restarts, and Repair
	// restores rules and links once. Both are for fixes; nil: no fix is offered.
	SetClamp func(ctx context.Context, p netip.Prefix, mss int) error
	Repair   func(ctx context.Context) error
	// Only are the keys of the attachments to examine. If it is empty, all are examined.
	Only []string
	// MaxContainers is the greatest number of containers that are entered; 0: no limit.
	MaxContainers int
	// Target is the destination of the probe, or nil.
	Target *Target
}

// Target is a destination that a probe sends to.
type Target struct {
	Host     string         `json:"host"` // as it was given
	Protocol string         `json:"protocol"`
	Address  netip.AddrPort `json:"address"`
	// Other is an address of the other family that the name has.
	Other *netip.AddrPort `json:"other,omitempty"`
}

// String returns host, port and protocol.
func (t Target) String() string {
	return fmt.Sprintf("%s port %d (%s)", t.Host, t.Address.Port(), t.Protocol)
}

// Node is the node that checks read, in the network namespace of the calling thread. Each part
// is read once.
type Node struct {
	Options
	Now time.Time
	// Records has the attachments to examine, and AllRecords all attachments of the node.
	Records, AllRecords []store.Record
	Owners              *report.Owners
	// Unread is the error of records that cannot be read.
	Unread error

	counted *flowFacts // see CountFlows

	mutex sync.Mutex
	facts map[string]any // *fact[T] by name
}

// Open reads the records.
func Open(o Options) (*Node, error) {
	n := &Node{Options: o, Now: time.Now(), AllRecords: o.Records, facts: map[string]any{}}
	if o.Records == nil {
		records, err := store.Open(o.StateDir)
		if err != nil {
			return nil, err
		}
		n.AllRecords, n.Unread = records.All()
		if n.Unread != nil && len(store.ReadErrors(n.Unread)) == 0 {
			return nil, n.Unread
		}
	}
	n.Owners = report.OwnersOf(n.AllRecords)
	n.Records = n.AllRecords
	if len(o.Only) > 0 {
		n.Records = nil
		for _, r := range n.AllRecords {
			for _, k := range o.Only {
				if r.Identity() == k {
					n.Records = append(n.Records, r)
				}
			}
		}
	}
	return n, nil
}

type fact[T any] struct {
	once  sync.Once
	value T
	err   error
}

// read returns the fact with this name. It calls f the first time only.
func read[T any](n *Node, name string, f func() (T, error)) (T, error) {
	n.mutex.Lock()
	x, ok := n.facts[name].(*fact[T])
	if !ok {
		x = &fact[T]{}
		n.facts[name] = x
	}
	n.mutex.Unlock()
	x.once.Do(func() { x.value, x.err = f() })
	return x.value, x.err
}

// sysctl returns the value of a setting of the node, such as "net/ipv4/ip_forward": with
// slashes, because names of interfaces can contain dots.
func (n *Node) sysctl(key string) (string, error) {
	return read(n, "sysctl "+key, func() (string, error) { return readSysctl(key) })
}

func readSysctl(key string) (string, error) {
	b, err := os.ReadFile("/proc/sys/" + key)
	return strings.TrimSpace(string(b)), err
}
