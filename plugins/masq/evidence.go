package main

import (
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// setEvidence returns a function that stores evidence of the container in a record. An
// error is only a warning: with less evidence, masqd keeps the record longer.
func setEvidence(rec *store.Record) func(masq.Evidence, error) {
	return func(e masq.Evidence, err error) {
		if err != nil {
			warn("ADD: %s: the evidence by which masqd detects that the container was removed is incomplete: %v; its rules may stay until DEL or GC removes them", rec.Key, err)
		}
		rec.Evidence, rec.Links = &e, nil
		for _, l := range e.Links {
			rec.Links = append(rec.Links, l.Name)
		}
	}
}

// nodeInterfaces returns the names of a result's interfaces without a sandbox, which may be
// interfaces of the node.
func nodeInterfaces(r *types100.Result) (names []string) {
	for _, i := range r.Interfaces {
		if i != nil && i.Sandbox == "" {
			names = append(names, i.Name)
		}
	}
	return names
}

// hostLink returns the host's end of the link that ADD made for an attachment.
func hostLink(rec store.Record) masq.HostLink {
	index := 0
	if rec.Evidence != nil && !rec.Chained && len(rec.Evidence.Links) > 0 {
		index = rec.Evidence.Links[0].Index
	}
	return rec.HostLink(index)
}
