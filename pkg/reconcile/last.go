package reconcile

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// lastSync is the state that one sync passes on to the next.
type lastSync struct {
	// generation is the generation of the ruleset up to which every transaction is
	// explained: the table is the desired state. It is 0, which the kernel never uses
	// (nf_tables_commit, nf_tables_api.c), until the first sync has compared the table.
	generation uint32
	node       NodeConfig // the configuration with which the table was made
	// active caches the policies that replace the node's policy, by the record's policy.
	active       map[*masq.Policy]*masq.Policy
	complete     *completeTable
	requirements map[requirement]bool

	// What the next sync has to compare: the whole table, its structure, or elements.
	full, structure bool
	elements        []elementKey
	// kept are elements that stay, or stay missing, because of a record that is pending or
	// cannot be read, by its digest. They are judged again when the record changes.
	kept map[string][]elementKey
	// unverified is the kernel's generation at the last resync; 0 if the transactions up to
	// it were explained.
	unverified uint32

	search  flowSearch     // the flows to search
	sources []netip.Prefix // the sources whose flows were searched
	egress  egress
	// egressInUse has each egress address that a policy named: true if flows left with it.
	egressInUse map[netip.Addr]bool
	removed     []netip.Addr // removed egress addresses whose flows are not deleted yet
}

// isInitial reports whether no sync has compared the table yet.
func (s *lastSync) isInitial() bool { return s.generation == 0 }
