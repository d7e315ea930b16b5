package nft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Counter counts packets since its rule or element was added.
type Counter struct{ Packets, Bytes uint64 }

// CountedRule is a rule in the kernel.
type CountedRule struct {
	Chain, ID string // ID is the rule's comment, which any program may have written
	Handle    uint64
	// Counts says that the rule has a counter.
	Counts bool
	Counter
}

// Begun is the counter of an attachment's address. It counts one packet for each flow that
// the address began, because the kernel decides on translation with a flow's first packet.
type Begun struct {
	Address, Identity string
	Counter
}

// Counters are the counters of the table. They are of one generation of the ruleset,
// unless other programs keep changing it.
type Counters struct {
	Rules []CountedRule // by chain, in the kernel's order
	Begun []Begun       // in the order of addresses
}

// Counters reads the counters of the table. It returns none if the table does not exist.
func (c *Conn) Counters() (Counters, error) {
	var out Counters
	attempts := 0
	err := retry(func() error {
		before, err := c.generation()
		if err != nil {
			return fmt.Errorf("read the generation of the ruleset: %w", err)
		}
		out = Counters{}
		if out.Rules, err = c.countedRules(ruleset.Name); err != nil {
			return err
		}
		for _, f := range masq.Families {
			found, err := c.counted(ruleset.PolicySet.Of(f), decodeAddr)
			if err != nil {
				return err
			}
			for _, x := range found {
				out.Begun = append(out.Begun, Begun{x.key, x.identity, x.Counter})
			}
		}
		after, err := c.generation()
		if attempts++; err == nil && after != before && attempts < readAttempts {
			err = errInterrupted
		}
		return err
	})
	return out, explain(err)
}

// Dropped is the number of packets of each attachment that rules dropped, since the
// attachment's elements were added.
type Dropped struct {
	Spoofed   map[string]uint64 // by the attachment's identity
	OtherLink map[string]uint64 // by its address
	Invalid   map[string]uint64 // by its address
}

// Dropped reads the counters of the elements by which packets are dropped. Its cost grows
// with the number of attachments.
func (c *Conn) Dropped() (out Dropped, err error) {
	err = retry(func() error {
		out = Dropped{map[string]uint64{}, map[string]uint64{}, map[string]uint64{}}
		links, err := c.counted(string(ruleset.LinkSet), decodeName)
		if err != nil {
			return err
		}
		for _, x := range links {
			out.Spoofed[x.identity] += x.Packets
		}
		for _, f := range masq.Families {
			for kind, by := range map[ruleset.SetKind]map[string]uint64{ruleset.LinkedSet: out.OtherLink, ruleset.InvalidSet: out.Invalid} {
				all, err := c.counted(kind.Of(f), decodeAddr)
				if err != nil {
					return err
				}
				for _, x := range all {
					by[x.key] += x.Packets
				}
			}
		}
		return nil
	})
	return out, explain(err)
}

// CountedRules reads only the rules of the table, by chain, in the kernel's order. Its
// cost grows with the number of policies, not of attachments.
func (c *Conn) CountedRules() ([]CountedRule, error) { return c.countedRulesOf(ruleset.Name) }

// CountedHelperRules is CountedRules for the table of masqd's helpers. It returns none while the
// table does not exist.
func (c *Conn) CountedHelperRules() ([]CountedRule, error) {
	return c.countedRulesOf(ruleset.HelperTableName)
}

func (c *Conn) countedRulesOf(table string) (rules []CountedRule, err error) {
	err = retry(func() error {
		rules, err = c.countedRules(table)
		return err
	})
	return rules, explain(err)
}

func (c *Conn) countedRules(table string) ([]CountedRule, error) {
	var out []CountedRule
	handles := map[uint64]bool{}
	var of netlink.Encoder
	of.Text(unix.NFTA_RULE_TABLE, table)
	err := c.dump(func() { out = nil; clear(handles) }, unix.NFT_MSG_GETRULE, of, func(b []byte) error {
		f, err := fields(b)
		if err != nil || netlink.Text(f[unix.NFTA_RULE_TABLE]) != table {
			return err
		}
		all, err := parseList(f[unix.NFTA_RULE_EXPRESSIONS])
		if err != nil {
			return err
		}
		r := CountedRule{
			Chain: netlink.Text(f[unix.NFTA_RULE_CHAIN]), ID: string(comment(f[unix.NFTA_RULE_USERDATA])),
			Handle: number64(f[unix.NFTA_RULE_HANDLE]),
		}
		if handles[r.Handle] {
			return nil // listed twice: see readListing
		}
		handles[r.Handle] = true
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

// countedElement is an element of a set and its counter.
type countedElement struct {
	raw, key, identity string // raw is the key in the kernel's bytes
	Counter
}

// counted returns the elements of a set with their counters, in the order of the kernel's
// bytes. It returns none if the set does not exist.
func (c *Conn) counted(set string, decode func([]byte) string) ([]countedElement, error) {
	var out []countedElement
	err := c.dump(func() { out = nil }, unix.NFT_MSG_GETSETELEM, elementList(set, nil), func(b []byte) error {
		return each(b, func(typ uint16, list []byte) error {
			if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return nil
			}
			return each(list, func(_ uint16, item []byte) error {
				x, err := countedOf(item, decode)
				out = append(out, x)
				return err
			})
		})
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("read the elements of set %s: %w", set, err)
	}
	slices.SortFunc(out, func(a, b countedElement) int { return strings.Compare(a.raw, b.raw) })
	// An element can be listed twice: see readListing.
	return slices.CompactFunc(out, func(a, b countedElement) bool { return a.raw == b.raw }), nil
}

func countedOf(item []byte, decode func([]byte) string) (x countedElement, err error) {
	f, err := fields(item)
	if err != nil {
		return x, err
	}
	key, err := inside(f[unix.NFTA_SET_ELEM_KEY], unix.NFTA_DATA_VALUE)
	if err != nil {
		return x, err
	}
	x.raw, x.key, x.identity = string(key), decode(key), string(comment(f[unix.NFTA_SET_ELEM_USERDATA]))
	if e, ok := f[unix.NFTA_SET_ELEM_EXPR]; ok {
		one, err := fields(e)
		if err != nil {
			return x, err
		}
		x.Counter, _, err = readCounter([]expression{{netlink.Text(one[unix.NFTA_EXPR_NAME]), one[unix.NFTA_EXPR_DATA]}})
		return x, err
	}
	// If a set has several expressions, the kernel lists them.
	all, err := parseList(f[nftaSetElemExpressions])
	if err != nil {
		return x, err
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
