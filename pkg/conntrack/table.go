package conntrack

import "github.com/masq-cni/masq-cni/pkg/netlink"

// Table is the number of entries of a namespace, and their limit.
type Table struct {
	// Entries counts all entries. A dump does not have entries of which the first packet is
	// not confirmed yet, and entries that timed out and are not removed yet.
	Entries uint32
	// Limit is net.netfilter.nf_conntrack_max. The limit is the same for each namespace of
	// the machine, and entries are counted for each.
	Limit uint32
}

// Table returns the size of the table. It takes one message, for any number of flows.
func (c *Conn) Table() (Table, error) {
	var t Table
	m, err := c.requests.Get(msgStats, 0, header(0))
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
