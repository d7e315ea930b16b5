package node

import (
	"context"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// MaxDumps is how many times a command reads the conntrack table if the kernel calls the
// dumps incomplete.
const MaxDumps = 5

// Query selects flows.
type Query struct {
	conntrack.Filter                            // applied by the kernel
	Except           func(*conntrack.Flow) bool // flows to leave out; nil for none
}

// Dump calls f with the flows of each query until f returns false.
func Dump(ctx context.Context, c *conntrack.Conn, queries []Query, f func(*conntrack.Flow) bool) error {
	for _, q := range queries {
		for x, err := range c.Dump(ctx, q.Filter) {
			if err != nil {
				return err
			}
			if q.Except != nil && q.Except(x) {
				continue
			}
			if !f(x) {
				return nil
			}
		}
	}
	return nil
}
