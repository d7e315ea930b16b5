package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// Deps are the parts of the node that a Loop reads and changes. All fields are required,
// except PreviousEgress and Synced.
type Deps struct {
	// Records are the records of the node's attachments.
	Records *Cache
	// Node returns the node's configuration.
	Node func() NodeConfig
	// Rules is the kernel's ruleset.
	Rules Rules
	// Host is the node's interfaces and addresses.
	Host Host
	// ServicePorts returns the ports that translation must not choose: ports of the node's
	// services, and ports that other programs publish. toPorts are the ranges of the policies.
	ServicePorts func(toPorts []masq.PortRange) ([]masq.PortRange, error)
	// DeleteFlows deletes the flows that the filter and match accept, and returns their
	// number.
	DeleteFlows func(ctx context.Context, filter conntrack.Filter, match func(*conntrack.Flow) bool) (int, error)
	// Evidence proves that a container exists, or that it does not.
	Evidence store.Probes
	// NetNSState reports whether the network namespace of another node exists. That node
	// shares the state directory.
	NetNSState func(masq.NodeNetNS) masq.NetNSState
	// ReloadConfiguration reads the configuration files again; each resync calls it.
	ReloadConfiguration func()
	// CPUTime returns the processor time that the process has used.
	CPUTime func() time.Duration
	// ResyncInterval is the time between resyncs, unless NodeConfig.Resync overrides it.
	ResyncInterval time.Duration
	// CleanupGrace is how long the proof that a container no longer exists has to hold before
	// its attachment is removed: its runtime may be about to call DEL.
	CleanupGrace time.Duration
	Log          *slog.Logger
	// PreviousEgress lists the egress addresses that the previous masqd translated to. The
	// first sync deletes the flows of addresses that are no longer in use.
	PreviousEgress []netip.Addr
	// Synced is called after each successful sync, if it is not nil, with the egress addresses
	// and reserved ports of which the rules were made. The next sync waits until it returns.
	Synced func(ruleset.Egress)
}

// Rules is the kernel's ruleset, as nft.Conn provides it. A live set is a set with elements
// of attachments.
type Rules interface {
	// Generation returns the generation number of the ruleset.
	Generation() (uint32, error)
	// SyncStructure makes everything but the elements of live sets the desired state. It
	// returns nft.ErrConflict if it kept an object that a newer attachment may need.
	SyncStructure(nft.Desired) (nft.StructureResult, error)
	// Scan returns the elements of live sets that differ. If complete is false, other
	// programs changed the sets meanwhile and the result may be wrong.
	Scan(want ruleset.Table) (changes []nft.Difference, complete bool, err error)
	// Element reads one element of a live set.
	Element(set, key string) (e ruleset.LiveElement, found bool, err error)
	// Edit adds and removes elements of live sets. If generation is not 0 and the ruleset
	// has another generation, it returns nft.ErrConflict. If a set or chain is missing, it
	// returns nft.ErrStructure. If large is true, notifications of other programs'
	// transactions may have been missed.
	Edit(add, remove []ruleset.LiveElement, generation uint32) (large bool, err error)
}

// Host is the node's interfaces and addresses, as veth.Conn provides them.
type Host interface {
	// HasAddress reports whether the node has an address.
	HasAddress(netip.Addr) (bool, error)
	// RepairForwarding enables forwarding on the uplinks and on the links that isManaged
	// selects, and returns the settings that it changed.
	RepairForwarding(isManaged func(name string) bool, families []masq.Family) (repaired []string, err error)
	// Repair compares links and repairs them. left are differences that it cannot repair.
	Repair([]veth.Pair) (repaired, left []veth.Difference, err error)
	// RepairIndexes is Repair for the interfaces with these indexes. It skips an interface if
	// pairOf returns false.
	RepairIndexes(indexes []int, pairOf func(index int, identity string) (veth.Pair, bool)) (repaired, left []veth.Difference, err error)
}

// Validate returns an error that names every field which is missing or out of range.
func (d Deps) Validate() error {
	errs := []error{required("Deps", map[string]bool{
		"Records": d.Records != nil, "Node": d.Node != nil, "Rules": d.Rules != nil, "Host": d.Host != nil,
		"ServicePorts": d.ServicePorts != nil, "DeleteFlows": d.DeleteFlows != nil,
		"Evidence":   d.Evidence.HasLink != nil && d.Evidence.Aliases != nil && d.Evidence.NetNS != nil,
		"NetNSState": d.NetNSState != nil, "ReloadConfiguration": d.ReloadConfiguration != nil, "CPUTime": d.CPUTime != nil, "Log": d.Log != nil,
	})}
	if d.ResyncInterval <= 0 {
		errs = append(errs, fmt.Errorf("reconcile.Deps: ResyncInterval is %s; it has to be above 0", d.ResyncInterval))
	}
	if d.CleanupGrace < 0 {
		errs = append(errs, fmt.Errorf("reconcile.Deps: CleanupGrace is %s; it must not be below 0", d.CleanupGrace))
	}
	return errors.Join(errs...)
}

// required returns an error for each field of a struct that is not set.
func required(of string, isSet map[string]bool) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(isSet)) {
		if !isSet[name] {
			errs = append(errs, fmt.Errorf("reconcile.%s: %s is not set", of, name))
		}
	}
	return errors.Join(errs...)
}
