package portpool_test

import (
	"context"
	"fmt"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/portpool"
)

// Print the destinations that will exhaust the source ports of the node, and when.
func Example() {
	c, err := conntrack.Open()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	var attachments []masq.Attachment // from the records
	pools := portpool.PoolsOf(attachments, nil, masq.Default())
	m := portpool.NewMonitor(portpool.Options{Groups: 20, ReusesClosed: portpool.ReusesClosed()})
	for range time.Tick(10 * time.Second) {
		s, err := m.Sample(context.Background(), time.Now(), c, pools)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, g := range s.Groups {
			if g.Severity >= portpool.Warning {
				fmt.Println(g.Egress, "to", g.Destination, g.Port, g.Used, "of", g.Usable, "ports,", g.ExhaustedIn, "left")
			}
		}
	}
}
