package main

import (
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// gc removes all attachments of the network that the runtime does not list, with and without
// a record, and releases their leases.
func gc(args *skel.CmdArgs) error {
	conf, err := cniconf.Load(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	n, err := openNode(conf.StateDir)
	if err != nil {
		return err
	}
	defer n.close()
	if conf.ValidAttachments == nil {
		// An absent list does not mean that no attachment is valid.
		return types.NewError(types.ErrInvalidNetworkConfig, "GC needs the list of valid attachments", "cni.dev/valid-attachments: missing")
	}
	valid := map[masq.Key]bool{}
	for _, v := range conf.ValidAttachments {
		valid[masq.Key{Network: conf.Name, ContainerID: v.ContainerID, Interface: v.IfName}] = true
	}
	var errs []error
	own := leaseFilter{network: conf.Name, valid: valid, known: map[masq.Key]bool{}}
	if own.files, err = n.records.Digests(); err != nil {
		errs = append(errs, failed(codeState, "cannot list the records", err))
	}
	records, err := n.records.All()
	if err != nil {
		// Their keys are unknown. Their attachments are found below by rules and links.
		warn("GC: some records cannot be read: %s", err)
	}
	retired, err := n.records.Retired()
	errs = append(errs, failed(codeState, "cannot list the retired records", err))
	for _, r := range retired {
		if !slices.ContainsFunc(records, func(o store.Record) bool { return o.Key == r.Key }) {
			records = append(records, r.Record)
		}
	}
	known := map[string]bool{}
	for _, rec := range records {
		known[rec.Identity()] = true
		if rec.Network != conf.Name {
			continue
		}
		own.known[rec.Key] = true
		if valid[rec.Key] {
			continue
		}
		var leases ipamPlugin
		if conf.IPAMType != "" {
			leases = ipamFor(conf.IPAMType, &skel.CmdArgs{
				ContainerID: rec.ContainerID, IfName: rec.Interface, StdinData: args.StdinData, Path: args.Path,
			})
		}
		errs = append(errs, n.release(rec, leases))
	}
	for key := range valid {
		known[key.Identity()] = true
	}
	identities, err := n.rules.Identities()
	errs = append(errs, failed(codeRules, "cannot read the rules", err))
	for _, id := range identities {
		key, ok := masq.ParseIdentity(id)
		if !ok || key.Network != conf.Name || known[id] {
			continue
		}
		own.known[key] = true
		errs = append(errs, n.release(store.Record{Attachment: masq.Attachment{Key: key}, Chained: conf.IPAMType == ""}, nil))
	}
	links, err := n.links.ManagedLinks()
	errs = append(errs, failed(codeLink, "cannot list the node's links", err))
	for _, l := range links {
		key, ok := masq.ParseIdentity(l.Alias)
		if !ok || key.Network != conf.Name || known[l.Alias] {
			continue
		}
		own.known[key] = true
		errs = append(errs, n.release(store.Record{Attachment: masq.Attachment{Key: key}}, nil))
	}
	if conf.IPAMType != "" {
		errs = append(errs, failed(codeIPAM, "cannot collect leases", ipamFor(conf.IPAMType, args).collect(own)))
	}
	errs = append(errs, failed(codeState, "cannot tidy up the records", n.records.Tidy(time.Minute)))
	return join(errs...)
}
