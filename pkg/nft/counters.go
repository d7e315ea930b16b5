package nft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Counter is what a rule or an element has counted since it was made.
type Counter struct{ Packets, Bytes uint64 }

// CountedRule is a rule as the kernel has it.
type CountedRule struct {
	Chain, ID string // the ID is the rule's comment, whoever wrote it
	Handle    uint64
	// Counts says that the rule has a counter.
	Counts bool
	Counter
}

// Begun is what an attachment's address has counted: a packet for each flow that it
// began, as translation is decided with the first packet of a flow.
type Begun struct {
	Address, Identity string
	Counter
}

// Counters is what the table has counted, all at one generation of the ruleset.
type Counters struct {
	Rules []CountedRule // by chain, in the kernel's order
	Begun []Begun       // in the order of addresses
}

// Counters reads what the table has counted. A table that is not there has counted
// nothing.
func (c *Conn) Counters() (Counters, error) {
	var out Counters
	err := retry(func() error {
		before, err := c.s.generation()
		if err != nil {
			return fmt.Errorf("read the generation of the ruleset: %w", err)
		}
		out = Counters{}
		if out.Rules, err = c.s.countedRules(); err != nil {
			return err
		}
		for _, f := range masq.Families {
			if out.Begun, err = c.s.begun(out.Begun, "policy"+f.String()); err != nil {
				return err
			}
		}
		after, err := c.s.generation()
		if err == nil && after != before {
			err = errInterrupted
		}
		return err
	})
	return out, explain(err)
}

// CountedRules reads the rules of the table alone, by chain, in the kernel's order: its
// cost follows the number of policies, not that of attachments.
func (c *Conn) CountedRules() (rules []CountedRule, err error) {
	err = retry(func() error {
		rules, err = c.s.countedRules()
		return err
	})
	return rules, explain(err)
}

func (s *socket) countedRules() ([]CountedRule, error) {
	var out []CountedRule
	err := s.get(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, ofTable(), func(b []byte) error {
		f, err := fields(b)
		if err != nil || text(f[unix.NFTA_RULE_TABLE]) != ruleset.Name {
			return err
		}
		all, err := parseList(f[unix.NFTA_RULE_EXPRESSIONS])
		if err != nil {
			return err
		}
		r := CountedRule{
			Chain: text(f[unix.NFTA_RULE_CHAIN]), ID: string(comment(f[unix.NFTA_RULE_USERDATA])),
			Handle: number64(f[unix.NFTA_RULE_HANDLE]),
		}
		r.Counter, r.Counts, err = readCounter(all)
		out = append(out, r)
		return err
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	slices.SortStableFunc(out, func(a, b CountedRule) int { return strings.Compare(a.Chain, b.Chain) })
	return out, nil
}

// begun appends what the elements of a map have counted.
func (s *socket) begun(out []Begun, set string) ([]Begun, error) {
	first := len(out)
	err := s.get(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, elementList(set, nil), func(b []byte) error {
		return each(b, func(typ uint16, list []byte) error {
			if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return nil
			}
			return each(list, func(_ uint16, item []byte) error {
				x, err := begunOf(item)
				out = append(out, x)
				return err
			})
		})
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("read the elements of map %s: %w", set, err)
	}
	slices.SortFunc(out[first:], func(a, b Begun) int { return compareAddr(a.Address, b.Address) })
	return out, nil
}

// compareAddr compares addresses as decodeAddr writes them.
func compareAddr(a, b string) int {
	x, _ := appendAddr(nil, a)
	y, _ := appendAddr(nil, b)
	return slices.Compare(x, y)
}

func begunOf(item []byte) (Begun, error) {
	f, err := fields(item)
	if err != nil {
		return Begun{}, err
	}
	key, err := inside(f[unix.NFTA_SET_ELEM_KEY], unix.NFTA_DATA_VALUE)
	if err != nil {
		return Begun{}, err
	}
	x := Begun{Address: decodeAddr(key), Identity: string(comment(f[unix.NFTA_SET_ELEM_USERDATA]))}
	if e, ok := f[unix.NFTA_SET_ELEM_EXPR]; ok {
		one, err := fields(e)
		if err != nil {
			return Begun{}, err
		}
		x.Counter, _, err = readCounter([]expression{{text(one[unix.NFTA_EXPR_NAME]), one[unix.NFTA_EXPR_DATA]}})
		return x, err
	}
	// Where a set has several expressions, the kernel lists them.
	all, err := parseList(f[nftaSetElemExpressions])
	if err != nil {
		return Begun{}, err
	}
	x.Counter, _, err = readCounter(all)
	return x, err
}

// nftaSetElemExpressions is NFTA_SET_ELEM_EXPRESSIONS of
// uapi/linux/netfilter/nf_tables.h, which golang.org/x/sys lacks.
const nftaSetElemExpressions = 11

// readCounter reads the first counter among expressions.
func readCounter(all []expression) (n Counter, found bool, err error) {
	i := slices.IndexFunc(all, func(x expression) bool { return x.name == "counter" })
	if i < 0 {
		return n, false, nil
	}
	f, err := fields(all[i].data)
	n = Counter{number64(f[unix.NFTA_COUNTER_PACKETS]), number64(f[unix.NFTA_COUNTER_BYTES])}
	return n, true, err
}
