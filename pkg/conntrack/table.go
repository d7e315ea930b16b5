package conntrack

import "github.com/masq-cni/masq-cni/pkg/netlink"

// Table is how full the table of a namespace is.
type Table struct {
	// Entries are all that take room: those whose first packet is still under way,
	// and those that timed out and were not yet removed, are not in a dump.
	Entries uint32
	// Limit is net.netfilter.nf_conntrack_max: the same number for each namespace
	// of the machine, each by itself.
	Limit uint32
}

// Table asks how full the table is: one message, however many flows there are.
func (c *Conn) Table() (Table, error) {
	var t Table
	m, err := c.asks.Get(msgStats, 0, header(0))
	if err == nil {
		err = t.read(attributes(m))
	}
	if err != nil {
		return Table{}, explain(err)
	}
	return t, nil
}

func (t *Table) read(b []byte) error {
	ok := readNested(b, func(typ uint16, value []byte) bool {
		switch typ {
		case ctaStatsGlobalEntries:
			return read32(value, &t.Entries)
		case ctaStatsGlobalMaxEntries:
			return read32(value, &t.Limit)
		}
		return true
	})
	if !ok {
		return netlink.Malformed("the size of the table")
	}
	return nil
}
