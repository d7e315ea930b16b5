package main

import (
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// leaseFilter selects the leases that GC may release. A lease has a container and an interface,
// but no node, and nodes may share the directory. A lease is this node's only if the node
// has, or had when GC began, a record, a rule or a link of its attachment.
type leaseFilter struct {
	network string
	valid   map[masq.Key]bool
	files   store.Digests
	known   map[masq.Key]bool // by records, rules or links
}

// mayRelease reports whether a lease belongs to an attachment of this node that the runtime
// does not list. Leases of old host-local versions have no interface: they are compared
// with all attachments of the container.
func (o leaseFilter) mayRelease(containerID, ifname string) bool {
	if ifname != "" {
		k := masq.Key{Network: o.network, ContainerID: containerID, Interface: ifname}
		return !o.valid[k] && (o.known[k] || o.files.Has(k))
	}
	for k := range o.valid {
		if k.ContainerID == containerID {
			return false
		}
	}
	for k := range o.known {
		if k.ContainerID == containerID {
			return true
		}
	}
	return false
}
