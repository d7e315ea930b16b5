package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// generation requests the generation of the ruleset.
func (c *Conn) generation() (uint32, error) {
	b, err := c.get(unix.NFT_MSG_GETGEN, nil)
	if err != nil {
		return 0, err
	}
	f, err := fields(b)
	return number(f[unix.NFTA_GEN_ID]), err
}

// ofTable returns the attribute that restricts a request to the table. It is attribute 1
// of all requests (NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, ...).
func ofTable() netlink.Encoder {
	var a netlink.Encoder
	a.Text(unix.NFTA_CHAIN_TABLE, ruleset.Name)
	return a
}

// structure reads everything but the elements of sets. Its cost grows with the number of
// policies, not of attachments.
func (c *Conn) structure() (*observed, error) {
	o := &observed{objects: map[string]object{}, sets: map[string]*set{}, chains: map[string]*chain{}, handles: map[uint64]bool{}}
	var err error
	if o.generation, err = c.generation(); err != nil {
		return nil, fmt.Errorf("read the generation of the ruleset: %w", err)
	}
	b, err := c.get(unix.NFT_MSG_GETTABLE, ofTable())
	if errors.Is(err, unix.ENOENT) {
		return o, nil
	}
	var f map[uint16][]byte
	if err == nil {
		f, err = fields(b)
	}
	if err != nil {
		return nil, fmt.Errorf("read table: %w", err)
	}
	o.exists, o.flags, o.owner = true, number(f[unix.NFTA_TABLE_FLAGS]), ownerOf(f)
	for _, p := range []listing{
		{"objects", unix.NFT_MSG_GETOBJ, func() { clear(o.objects) }, o.takeObject},
		{"sets", unix.NFT_MSG_GETSET, func() { clear(o.sets) }, o.takeSet},
	} {
		if err := c.readListing(p); err != nil {
			return nil, err
		}
	}
	return o, c.chains(o)
}

// chains reads the chains, their rules and the reserved ports of one generation.
// NLM_F_DUMP_INTR is not enough: the kernel reports that a list changed only if another
// part of the list follows, so the last part may lack both the old rules and the new ones.
func (c *Conn) chains(o *observed) (err error) {
	for range readAttempts {
		if err = c.chainsOnce(o); !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return err
}

func (c *Conn) chainsOnce(o *observed) error {
	before, err := c.generation()
	if err != nil {
		return fmt.Errorf("read the generation of the ruleset: %w", err)
	}
	for _, p := range []listing{
		{"chains", unix.NFT_MSG_GETCHAIN, func() { clear(o.chains) }, o.takeChain},
		{"rules", unix.NFT_MSG_GETRULE, o.forgetRules, o.takeRule},
	} {
		if err := c.readListing(p); err != nil {
			return err
		}
	}
	if o.reserved, err = c.reservedPorts(o); err != nil {
		return err
	}
	after, err := c.generation()
	if err != nil {
		return fmt.Errorf("read the generation of the ruleset: %w", err)
	}
	if after != before {
		return errInterrupted
	}
	return nil
}

// listing is a list of objects of the table that one dump reads.
type listing struct {
	name  string
	typ   int
	reset func()
	take  func(map[uint16][]byte) error
}

// readListing reads one listing. The kernel can list an object twice without any sign: it
// continues each part of a list at a position that counts objects of a transaction that
// has not been committed (__nf_tables_dump_rules in nf_tables_api.c).
func (c *Conn) readListing(p listing) error {
	err := c.dump(p.reset, p.typ, ofTable(), func(b []byte) error {
		f, err := fields(b)
		if err != nil {
			return err
		}
		if netlink.Text(f[unix.NFTA_CHAIN_TABLE]) != ruleset.Name {
			return nil // chains are dumped for all tables
		}
		return p.take(f)
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("read %s: %w", p.name, err)
	}
	return nil
}
