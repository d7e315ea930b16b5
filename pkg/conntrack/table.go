package conntrack

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
	s := c.asks
	s.out = seal(s.open(s.out[:0], msgStats, 0, 0), 0)
	var t Table
	err := s.ask(s.out, func(m *message) error {
		a := attrs{rest: m.attributes()}
		for a.next() {
			ok := true
			switch a.typ {
			case ctaStatsGlobalEntries:
				ok = read32(a.data, &t.Entries)
			case ctaStatsGlobalMaxEntries:
				ok = read32(a.data, &t.Limit)
			}
			if !ok {
				return malformed(&a)
			}
		}
		return a.end()
	})
	if err != nil {
		return Table{}, explain(err)
	}
	return t, nil
}
