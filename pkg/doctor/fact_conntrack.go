package doctor

import (
	"context"
	"errors"
	"io/fs"
	"strconv"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// conntrackFacts are the size of the conntrack table, and the kernel's counters since the
// network namespace was made.
type conntrackFacts struct {
	conntrack.Table
	conntrack.Statistics // the sum over all CPUs
}

func (n *Node) conntrackFacts(ctx context.Context) (conntrackFacts, error) {
	return read(n, "conntrack", func() (x conntrackFacts, err error) {
		c, err := conntrack.Open()
		if err != nil {
			return x, err
		}
		defer func() { _ = c.Close() }()
		if x.Table, err = c.Table(); err != nil {
			return x, err
		}
		all, err := c.Statistics(ctx)
		x.Statistics = conntrack.Sum(all)
		return x, err
	})
}

// conntrackSetting is the name of a setting of conntrack, for people.
func conntrackSetting(key string) string { return "net.netfilter.nf_conntrack_" + key }

// readConntrackSetting returns a setting of conntrack. found is false if the kernel does not
// have it: for a namespace that does not track connections, or without the module.
func (n *Node) readConntrackSetting(key string) (value int, found bool, err error) {
	s, err := n.sysctl("net/netfilter/nf_conntrack_" + key)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	value, err = strconv.Atoi(s)
	return value, err == nil, err
}
