package nft

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Conn reaches the nftables of the network namespace in which it was opened.
type Conn struct {
	nl    *netlink.Conn
	watch *Watcher // the last that Watch returned; nil before its first call
	// Services returns the ports that the node's services have, for Add to reserve them;
	// nil keeps the ports that the table reserves.
	Services func() ([]masq.PortRange, error)

	published *published // of Published; nil before its first call
}

// Open connects to the nftables of the calling thread's network namespace.
func Open() (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, netlink.DumpBuffer)
	if err != nil {
		return nil, explain(fmt.Errorf("open a netlink socket: %w", err))
	}
	return &Conn{nl: nl}, nil
}

// Close ends the connection. Rules stay.
func (c *Conn) Close() error { return c.nl.Close() }

const (
	// retryTime bounds how long a change is planned again because other programs were
	// faster. Whenever that happens a change of theirs was made.
	retryTime = 20 * time.Second
	// retryPause is the longest pause before the second attempt, and doubles up to
	// retryPauseMax: writers that keep getting in one another's way draw apart.
	retryPause    = time.Millisecond
	retryPauseMax = 32 * time.Millisecond
)

// retry calls f until the ruleset holds still for it.
func retry(f func() error) error {
	begun, pause := time.Now(), retryPause
	for {
		err := f()
		if !errors.Is(err, errStale) && !errors.Is(err, errInterrupted) {
			return err
		}
		if took := time.Since(begun); took > retryTime {
			return fmt.Errorf("other programs kept changing the ruleset for %s: %w", took.Round(time.Second), err)
		}
		time.Sleep(rand.N(pause))
		pause = min(2*pause, retryPauseMax)
	}
}

// Apply makes the whole table the desired one, in one transaction, and returns what
// was different. An empty table is none: what is there is deleted.
func (c *Conn) Apply(want ruleset.Table) (changes []Difference, err error) {
	err = retry(func() error {
		p, err := c.compare(want, nil)
		if err != nil {
			return err
		}
		changes = p.changes
		return c.commitAlone(p.ops, p.have.generation)
	})
	return changes, explain(err)
}

// large is the size of a transaction, in bytes, that the Watcher need not hear of:
// that of some hundred elements.
const large = 32 << 10

// commitAlone unsubscribes the Watcher while it makes a large transaction. Otherwise
// the kernel would write a notification for each element, which is a third of the work,
// and the Watcher would ignore it. The Watcher misses transactions that other
// programs make at that time, and the next one shows a gap in the generations.
func (c *Conn) commitAlone(ops []op, generation uint32) error {
	if c.watch == nil || !isLarge(ops) {
		return c.commit(ops, generation)
	}
	if err := c.watch.pause(); err != nil {
		return err
	}
	err := c.commit(ops, generation)
	return errors.Join(err, c.watch.resume())
}

func isLarge(ops []op) bool {
	size := 0
	for _, o := range ops {
		size += len(o.body)
	}
	return size >= large
}

// Drift returns how the table differs from the desired one. The objects of pending belong
// to attachments that the plugin is adding or removing: they are neither missing nor
// unexpected.
func (c *Conn) Drift(want, pending ruleset.Table) ([]Difference, error) {
	var all []Difference
	err := retry(func() error {
		p, err := c.compare(want, contentsOf(pending))
		if err == nil {
			all = p.changes
		}
		return err
	})
	return all, explain(err)
}

func (c *Conn) compare(want ruleset.Table, pending contents) (*planner, error) {
	have, err := c.structure()
	if err != nil {
		return nil, err
	}
	if len(want.Chains) == 0 {
		p := &planner{have: have}
		if have.exists && len(pending) == 0 {
			p.found(Difference{Kind: KindTable, Reason: masq.Unexpected, Object: tableName})
			p.ops = []op{deleteTable()}
		}
		return p, nil
	}
	for _, s := range want.Sets {
		if err := c.read(s, have.sets[s.Name]); err != nil {
			return nil, err
		}
	}
	p, err := plan(want, have, whole, pending)
	if err == nil {
		p.have = have
	}
	return p, err
}

// read reads what there is of a set, if it is there and was not read with the rules.
func (c *Conn) read(want ruleset.Set, have *set) error {
	sig, err := signatureOf(want)
	switch {
	case err != nil:
		return err
	case have == nil, have.signature != sig: // keys of another type cannot be read as this one's; the set has to go
		return nil
	case have.bounds != nil:
		return nil
	case want.Interval:
		return c.ranges(want.Name, have)
	}
	return c.compareElements(want, have)
}

// Check returns what is missing or different of the rules and elements that an
// attachment needs; has as for Add.
//
// A transaction raises the ruleset's generation a moment before its rules are the ones that
// the kernel lists (nf_tables_commit in nf_tables_api.c), so a difference counts only if it
// is found twice.
func (c *Conn) Check(a masq.Attachment, has func(netip.Addr) (bool, error)) ([]Difference, error) {
	changes, err := c.checkOnce(a, has)
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	return c.checkOnce(a, has)
}

func (c *Conn) checkOnce(a masq.Attachment, has func(netip.Addr) (bool, error)) ([]Difference, error) {
	var changes []Difference
	err := retry(func() error {
		have, err := c.structure()
		if err != nil {
			return err
		}
		want, err := tableOf([]masq.Attachment{a}, has, have.reserved)
		if err != nil {
			return err
		}
		for _, s := range want.Sets {
			if s.Live {
				continue // one by one, below
			}
			if err := c.read(s, have.sets[s.Name]); err != nil {
				return err
			}
		}
		p, err := plan(want, have, part, nil)
		if err != nil && !errors.Is(err, errRebuild) {
			return err
		}
		for _, s := range want.Sets {
			if !s.Live || have.sets[s.Name] == nil {
				continue
			}
			for _, e := range s.Elements {
				x, found, err := c.element(s.Name, s.Type, e.Key)
				switch {
				case err != nil:
					return fmt.Errorf("read element %s of %s: %w", e.Key, s.Name, err)
				case !found:
					p.found(Difference{Kind: KindElement, Reason: masq.Missing, Parent: s.Name, Object: e.Key})
				case x.chain != e.Goto || x.comment != e.Comment:
					p.found(ChangedElement(x.in(s.Name, e.Key)))
				}
			}
		}
		changes = p.changes
		return nil
	})
	return changes, explain(err)
}

// Identities returns the identities of the attachments that the kernel knows.
func (c *Conn) Identities() ([]string, error) {
	found := map[string]bool{}
	err := retry(func() error {
		clear(found)
		have, err := c.structure()
		if err != nil {
			return err
		}
		for _, f := range masq.Families {
			set := ruleset.SetName{Kind: ruleset.PolicySet, Family: f}.Set()
			if have.sets[set.Name] == nil || have.owner != 0 {
				continue
			}
			all, err := c.elements(set.Name, set.Type)
			if err != nil {
				return err
			}
			for _, e := range all {
				found[e.comment] = true
			}
		}
		return nil
	})
	return slices.Sorted(maps.Keys(found)), explain(err)
}

// Exists reports whether the table is there.
func (c *Conn) Exists() (bool, error) {
	_, err := c.get(unix.NFT_MSG_GETTABLE, ofTable())
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, explain(err)
}

// Generation is the number of the kernel's present ruleset: it grows with each
// transaction, whoever makes it.
func (c *Conn) Generation() (uint32, error) {
	g, err := c.generation()
	return g, explain(err)
}

// Uninstall removes the table.
func (c *Conn) Uninstall() error { return explain(c.commit([]op{deleteTable()}, 0)) }

// MissingHelpers returns what the running kernel lacks of the policy's conntrack
// helpers, without changing the ruleset: the kernel loads the modules that it can.
// An error says that it could not be asked.
func (c *Conn) MissingHelpers(p masq.Policy) ([]MissingHelper, error) {
	a := masq.Attachment{Policy: &p, Addresses: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}}
	var missing []MissingHelper
	for _, o := range ruleset.For([]masq.Attachment{a}, ruleset.Sources{}, ruleset.Egress{}).Objects {
		add := addObject(o)
		err := c.check([]op{addTable(), add})
		var failed *opError
		switch {
		case err == nil:
		case errors.As(err, &failed) && errors.Is(err, unix.ENOENT):
			if m := (MissingHelper{o.Helper(), o.Module}); !slices.Contains(missing, m) {
				missing = append(missing, m)
			}
		default:
			return nil, explain(err)
		}
	}
	for _, m := range c.missingNAT(p) {
		// Without the helper itself there is nothing to translate.
		if !slices.ContainsFunc(missing, func(x MissingHelper) bool { return x.Helper == m.Helper }) {
			missing = append(missing, m)
		}
	}
	return missing, nil
}

// explain adds what to do to errors that a person can mend.
func explain(err error) error {
	var failed *opError
	// Without nf_tables the kernel calls every request invalid that is no transaction.
	none := errors.Is(err, unix.EINVAL) && !errors.As(err, &failed)
	var owned *OwnerError
	switch {
	case errors.As(err, &owned):
		return fmt.Errorf("nftables: %w", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("nftables: %w: CAP_NET_ADMIN is needed", err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), none:
		return fmt.Errorf("nftables: %w: the kernel lacks a part of nf_tables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_MASQ, CONFIG_NFT_NAT, CONFIG_NFT_CT, CONFIG_NFT_FIB_INET)", err)
	case errors.As(err, &failed) && failed.op.typ == unix.NFT_MSG_NEWOBJ && errors.Is(err, unix.ENOENT):
		return fmt.Errorf("nftables: %w: the kernel lacks this conntrack helper", err)
	case err != nil:
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}
