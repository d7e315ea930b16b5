package nft

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Conn reaches the nftables of the network namespace in which it was opened.
type Conn struct{ s *socket }

// Open connects to the nftables of the calling thread's network namespace.
func Open() (*Conn, error) {
	s, err := dial()
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket for nftables: %w", err)
	}
	return &Conn{s}, nil
}

// Close ends the connection. Rules stay.
func (c *Conn) Close() error { return c.s.close() }

// attempts bounds how often a change is planned anew because others were faster.
// Each time that happens somebody else's change was made, so it does not happen
// for long.
const attempts = 1000

// retry calls f until the ruleset holds still for it.
func retry(f func() error) error {
	var err error
	for range attempts {
		err = f()
		if !errors.Is(err, errStale) && !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return fmt.Errorf("after %d attempts: %w", attempts, err)
}

// Apply makes the whole table what is wanted, in one transaction, and returns what
// was different.
func (c *Conn) Apply(want ruleset.Table) ([]Change, error) {
	var changes []Change
	err := retry(func() error {
		p, err := c.compare(want)
		if err != nil {
			return err
		}
		changes = p.changes
		return c.s.commit(p.ops, p.have.generation)
	})
	return changes, explain(err)
}

// Drift returns what is different from the table that is wanted.
func (c *Conn) Drift(want ruleset.Table) ([]Change, error) {
	var changes []Change
	err := retry(func() error {
		p, err := c.compare(want)
		if err == nil {
			changes = p.changes
		}
		return err
	})
	return changes, explain(err)
}

func (c *Conn) compare(want ruleset.Table) (*planner, error) {
	have, err := c.s.structure()
	if err != nil {
		return nil, err
	}
	for _, s := range want.Sets {
		sig, err := signatureOf(s)
		if err != nil {
			return nil, err
		}
		// Keys of another type cannot be read as this one's; the set has to go.
		if x := have.sets[s.Name]; x != nil && x.signature == sig {
			if err := c.s.elements(s.Name, s, x); err != nil {
				return nil, err
			}
		}
	}
	p, err := plan(want, have, whole)
	if err == nil {
		p.have = have
	}
	return p, err
}

// Add puts an attachment under its policy. It mends what is missing of the rules
// that the attachment needs. all returns every attachment of the node, this one
// included: it is asked only where the whole table has to be made.
func (c *Conn) Add(a masq.Attachment, all func() ([]masq.Attachment, error)) error {
	want := ruleset.For([]masq.Attachment{a})
	replace := false
	err := retry(func() error {
		have, err := c.s.structure()
		if err != nil {
			return err
		}
		p, err := plan(want, have, part)
		if !have.exists || errors.Is(err, errRebuild) {
			return c.addAll(all)
		}
		if err != nil {
			return err
		}
		ops, guard := p.ops, uint32(0)
		if len(ops) > 0 || replace {
			guard = have.generation
		}
		if replace {
			others, err := c.evict(a, have)
			if err != nil {
				return err
			}
			ops = append(ops, others...)
		}
		for _, s := range want.Sets {
			if !s.Live || len(s.Elements) == 0 {
				continue
			}
			// An element that is there would silently keep its comment, and with
			// it its owner.
			add, err := addElements(s, s.Elements, s.Verdict && !replace)
			if err != nil {
				return err
			}
			ops = append(ops, add...)
		}
		err = c.s.commit(ops, guard)
		switch {
		case errors.Is(err, unix.EEXIST) && !replace:
			replace = true
			return errStale
		case errors.Is(err, unix.ENOENT) && guard == 0:
			return errStale // a chain went between the look and the change
		}
		return err
	})
	return explain(err)
}

func (c *Conn) addAll(all func() ([]masq.Attachment, error)) error {
	attachments, err := all()
	if err != nil {
		return err
	}
	_, err = c.Apply(ruleset.For(attachments))
	return err
}

// evict removes from all sets what other attachments left there for the addresses
// of this one. A runtime that gives an address again has forgotten who had it.
func (c *Conn) evict(a masq.Attachment, have *observed) ([]op, error) {
	var out []op
	for _, addr := range a.Addresses {
		ops, err := c.forget(addr, have)
		if err != nil {
			return nil, err
		}
		out = append(out, ops...)
	}
	return out, nil
}

// liveTypes are the types of the sets whose elements are attachments, by the start
// of their names. Those that begin with an address can be searched for one.
func liveType(name string) (typ string, more bool) {
	for _, f := range masq.Families {
		addr := "ip" + map[masq.Family]string{masq.IPv4: "v4", masq.IPv6: "v6"}[f] + "_addr"
		switch {
		case name == "policy"+f.String(), name == "invalid"+f.String(), strings.HasPrefix(name, "clamp"+f.String()+"-"):
			return addr, false
		case strings.HasPrefix(name, "helper"+f.String()+"-"):
			return addr + " . inet_service", true
		}
	}
	return "", false
}

// forget deletes an address from every set in which it stands.
func (c *Conn) forget(addr netip.Addr, have *observed) ([]op, error) {
	var out []op
	for _, name := range slices.Sorted(maps.Keys(have.sets)) {
		typ, more := liveType(name)
		if typ == "" || (typ[:4] == "ipv4") != addr.Is4() {
			continue
		}
		s := ruleset.Set{Name: name, Type: typ, Live: true}
		var gone []ruleset.Element
		if more {
			x := &set{}
			if err := c.s.elements(name, s, x); err != nil {
				return nil, err
			}
			for key := range x.elements {
				if strings.HasPrefix(key, addr.String()+" . ") {
					gone = append(gone, ruleset.Element{Key: key})
				}
			}
		} else if _, found, err := c.s.element(name, typ, addr.String()); err != nil {
			return nil, err
		} else if found {
			gone = append(gone, ruleset.Element{Key: addr.String()})
		}
		ops, err := deleteElements(s, gone)
		if err != nil {
			return nil, err
		}
		out = append(out, ops...)
	}
	return out, nil
}

// Remove takes an attachment out of the kernel, and with the last one of a policy
// its chain, and with the last of all the table. What carries another
// attachment's identity stays, whatever its address. With no addresses given, the
// kernel's own comments say which are the attachment's.
func (c *Conn) Remove(a masq.Attachment) error {
	err := retry(func() error {
		have, err := c.s.structure()
		if err != nil || !have.exists {
			return err
		}
		ops, refs, err := c.removal(a, have)
		if err != nil {
			return err
		}
		used := false
		unused := map[string]bool{}
		for name, ch := range have.chains {
			if !strings.HasPrefix(name, "policy-") {
				continue
			}
			// A chain is used once by each of its rules, and by each element.
			if int(ch.uses)-refs[name] > len(ch.rules) {
				used = true
				continue
			}
			unused[name] = true
		}
		if !used {
			return c.s.commit([]op{deleteTable()}, have.generation)
		}
		ops = append(ops, drop(have,
			func(name string) bool { return unused[name] },
			func(name string) bool {
				_, id, _ := strings.Cut(name, "-")
				return strings.HasPrefix(name, "direct") && unused["policy-"+id]
			},
			func(string) bool { return false },
			func(string, string, string, ...any) {})...)
		return c.s.commit(ops, have.generation)
	})
	return explain(err)
}

// removal returns the messages that remove an attachment's elements, and how many
// references each chain loses by them.
func (c *Conn) removal(a masq.Attachment, have *observed) ([]op, map[string]int, error) {
	refs := map[string]int{}
	if len(a.Addresses) == 0 || a.Policy == nil {
		ops, err := c.removalByIdentity(a.Key, have, refs)
		return ops, refs, err
	}
	var out []op
	want := ruleset.For([]masq.Attachment{a})
	mine := map[string]bool{}
	for _, s := range want.Sets {
		if !s.Verdict || have.sets[s.Name] == nil {
			continue
		}
		for _, e := range s.Elements {
			x, found, err := c.s.element(s.Name, s.Type, e.Key)
			if err != nil {
				return nil, nil, fmt.Errorf("read element %s of %s: %w", e.Key, s.Name, err)
			}
			if found && x.comment == a.Key.String() {
				mine[e.Key] = true
				refs[x.chain]++
			}
		}
	}
	for _, s := range want.Sets {
		if !s.Live || have.sets[s.Name] == nil {
			continue
		}
		var gone []ruleset.Element
		for _, e := range s.Elements {
			addr, _, _ := strings.Cut(e.Key, " . ")
			if mine[addr] || e.Comment == a.Key.String() && !s.Verdict {
				gone = append(gone, e)
			}
		}
		ops, err := deleteElements(s, gone)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, ops...)
	}
	return out, refs, nil
}

func (c *Conn) removalByIdentity(k masq.Key, have *observed, refs map[string]int) ([]op, error) {
	var out []op
	for _, f := range masq.Families {
		typ := "ip" + map[masq.Family]string{masq.IPv4: "v4", masq.IPv6: "v6"}[f] + "_addr"
		for _, s := range []ruleset.Set{
			{Name: "policy" + f.String(), Type: typ},
			{Name: "sources" + f.String(), Type: "ifname . " + typ},
		} {
			if have.sets[s.Name] == nil {
				continue
			}
			x := &set{}
			if err := c.s.elements(s.Name, s, x); err != nil {
				return nil, err
			}
			for _, key := range slices.Sorted(maps.Keys(x.elements)) {
				e := x.elements[key]
				if e.comment != k.String() {
					continue
				}
				var ops []op
				var err error
				if addr, bad := netip.ParseAddr(key); bad == nil {
					refs[e.chain]++
					ops, err = c.forget(addr, have)
				} else {
					ops, err = deleteElements(s, []ruleset.Element{{Key: key}})
				}
				if err != nil {
					return nil, err
				}
				out = append(out, ops...)
			}
		}
	}
	return out, nil
}

// Check returns what is missing or different of the rules and elements that an
// attachment needs.
func (c *Conn) Check(a masq.Attachment) ([]Change, error) {
	want := ruleset.For([]masq.Attachment{a})
	var changes []Change
	err := retry(func() error {
		have, err := c.s.structure()
		if err != nil {
			return err
		}
		for _, s := range want.Sets {
			if x := have.sets[s.Name]; x != nil && !s.Live {
				if err := c.s.elements(s.Name, s, x); err != nil {
					return err
				}
			}
		}
		p, err := plan(want, have, part)
		if err != nil && !errors.Is(err, errRebuild) {
			return err
		}
		for _, s := range want.Sets {
			if !s.Live || have.sets[s.Name] == nil {
				continue
			}
			for _, e := range s.Elements {
				x, found, err := c.s.element(s.Name, s.Type, e.Key)
				switch {
				case err != nil:
					return fmt.Errorf("read element %s of %s: %w", e.Key, s.Name, err)
				case !found:
					p.found("element", s.Name+" "+e.Key, "missing")
				case x.chain != e.Goto || x.comment != e.Comment:
					p.found("element", s.Name+" "+e.Key, "goes to %q as %q", x.chain, x.comment)
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
		have, err := c.s.structure()
		if err != nil {
			return err
		}
		for name, x := range have.sets {
			typ, _ := liveType(name)
			if !strings.HasPrefix(name, "policy") || typ == "" {
				continue
			}
			if err := c.s.elements(name, ruleset.Set{Name: name, Type: typ}, x); err != nil {
				return err
			}
			for _, e := range x.elements {
				found[e.comment] = true
			}
		}
		return nil
	})
	return slices.Sorted(maps.Keys(found)), explain(err)
}

// Exists reports whether the table is there.
func (c *Conn) Exists() (bool, error) {
	there := false
	err := c.s.get(unix.NFT_MSG_GETTABLE, 0, ofTable(), func([]byte) error {
		there = true
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return there, explain(err)
}

// Uninstall removes the table.
func (c *Conn) Uninstall() error { return explain(c.s.commit([]op{deleteTable()}, 0)) }

// MissingHelpers returns those conntrack helpers of the policy that the running
// kernel does not offer, without changing anything. An error says that it could
// not be asked.
func (c *Conn) MissingHelpers(p masq.Policy) ([]masq.HelperKind, error) {
	a := masq.Attachment{Policy: &p, Addresses: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}}
	var missing []masq.HelperKind
	for _, o := range ruleset.For([]masq.Attachment{a}).Objects {
		add := addObject(o)
		err := c.s.check([]op{addTable(), add})
		var failed *opError
		switch {
		case err == nil:
		case errors.As(err, &failed) && errors.Is(err, unix.ENOENT):
			name, _, _ := strings.Cut(o.Name, "-"+o.Protocol)
			kind, _ := masq.HelperKindOf(name)
			if !slices.ContainsFunc(missing, func(k masq.HelperKind) bool { return k.Name == kind.Name }) {
				missing = append(missing, kind)
			}
		default:
			return nil, explain(err)
		}
	}
	return missing, nil
}

// explain adds what to do to errors that a person can mend.
func explain(err error) error {
	var failed *opError
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("nftables: %w: CAP_NET_ADMIN is needed", err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("nftables: %w: the kernel lacks a part of nf_tables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_MASQ, CONFIG_NFT_NAT, CONFIG_NFT_CT, CONFIG_NFT_FIB_INET)", err)
	case errors.As(err, &failed) && failed.op.typ == unix.NFT_MSG_NEWOBJ && errors.Is(err, unix.ENOENT):
		return fmt.Errorf("nftables: %w: the kernel lacks this conntrack helper", err)
	case err != nil:
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}
