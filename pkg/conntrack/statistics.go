package conntrack

import (
	"context"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Statistics are the kernel's counters of packets and flows of a namespace, on one CPU or,
// from Sum, on all, since the namespace was made. The kernel's counters have 32 bits.
type Statistics struct {
	CPU           int    // 0 in a sum
	Found         uint64 // translations that were tried and in use by another flow
	Invalid       uint64 // packets that neither belong to a flow nor begin one
	Insert        uint64 // entries made by programs
	InsertFailed  uint64 // entries that were not made because their tuple was in use, for example without a free port
	Drop          uint64 // packets dropped because the table was full, or because of InsertFailed
	EarlyDrop     uint64 // flows ended to make room in a full table
	Error         uint64 // packets that are too short or malformed
	SearchRestart uint64 // lookups that were restarted because the table changed
	ClashResolve  uint64 // entries that two packets made at the same time and that were merged
	ChainTooLong  uint64 // entries that were not made because their hash bucket was full
}

// Statistics returns the counters of each CPU, in the order of CPUs.
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
