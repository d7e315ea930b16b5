package main

import (
	"github.com/containernetworking/cni/pkg/skel"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// del works without network namespace, prevResult and record: the link's name follows from
// the key, and map elements have the attachment's identity.
func del(args *skel.CmdArgs) error {
	conf, err := cniconf.LoadForRemoval(args.StdinData)
	if err != nil {
		return err
	}
	n, err := openNode(conf.StateDir)
	if err != nil {
		return err
	}
	defer n.close()
	key := masq.Key{Network: conf.Name, ContainerID: args.ContainerID, Interface: args.IfName}
	rec, found, err := n.records.Get(key)
	if err != nil || !found {
		// A record that cannot be read is removed too.
		rec = store.Record{Attachment: masq.Attachment{Key: key}, Chained: conf.IPAMType == ""}
	}
	var leases ipamPlugin
	if conf.IPAMType != "" {
		leases = ipamFor(conf.IPAMType, args)
	}
	return n.release(rec, leases)
}
