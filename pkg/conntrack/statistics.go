package conntrack

import (
	"context"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Statistics count what happened to packets and flows of a namespace on one CPU
// since the namespace began, or, as a sum, on all. The kernel counts in 32 bits.
type Statistics struct {
	CPU           int    // not of a sum
	Found         uint64 // choices of a translation that another flow had already
	Invalid       uint64 // packets that belong to no flow and begin none
	Insert        uint64 // entries made by programs
	InsertFailed  uint64 // entries that were not made, since another had a tuple of theirs; a translation without a free port among them
	Drop          uint64 // packets dropped since their entry could not be made: the table was full, or as above
	EarlyDrop     uint64 // flows ended to make room in a full table
	Error         uint64 // packets too short or wrong for their protocol
	SearchRestart uint64 // lookups that began again, since the table changed
	ClashResolve  uint64 // entries that two packets made at once, and that became one
	ChainTooLong  uint64 // entries that were not made, since their hash bucket was full
}

// Statistics are those of each CPU, in the order of their numbers.
func (c *Conn) Statistics(ctx context.Context) ([]Statistics, error) {
	var all []Statistics
	err := c.dump(ctx, msgStatsCPU, query{}, func(m *netlink.Message) (bool, error) {
		s := Statistics{CPU: int(resource(m))}
		err := s.read(attributes(m))
		all = append(all, s)
		return true, err
	})
	if err != nil {
		return nil, explain(err)
	}
	slices.SortFunc(all, func(a, b Statistics) int { return a.CPU - b.CPU })
	return all, nil
}

// Sum adds the statistics of all CPUs.
func Sum(all []Statistics) Statistics {
	var sum Statistics
	for i := range all {
		for typ := range uint16(ctaStatsChainTooLong + 1) {
			if to := sum.field(typ); to != nil {
				*to += *all[i].field(typ)
			}
		}
	}
	return sum
}

func (s *Statistics) read(b []byte) error {
	ok := readNested(b, func(typ uint16, value []byte) bool {
		to := s.field(typ)
		if to == nil {
			return true
		}
		var v uint32
		ok := read32(value, &v)
		*to = uint64(v)
		return ok
	})
	if !ok {
		return netlink.Malformed("statistics of CPU %d", s.CPU)
	}
	return nil
}

func (s *Statistics) field(typ uint16) *uint64 {
	switch typ {
	case ctaStatsFound:
		return &s.Found
	case ctaStatsInvalid:
		return &s.Invalid
	case ctaStatsInsert:
		return &s.Insert
	case ctaStatsInsertFailed:
		return &s.InsertFailed
	case ctaStatsDrop:
		return &s.Drop
	case ctaStatsEarlyDrop:
		return &s.EarlyDrop
	case ctaStatsError:
		return &s.Error
	case ctaStatsSearchRestart:
		return &s.SearchRestart
	case ctaStatsClashResolve:
		return &s.ClashResolve
	case ctaStatsChainTooLong:
		return &s.ChainTooLong
	}
	return nil
}
