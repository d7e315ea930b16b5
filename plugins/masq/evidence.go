package main

import (
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// keep puts into a record what the kernel has of its container. With less evidence the
// record is kept longer, and nothing else changes: that is no reason to refuse an ADD.
func keep(rec *store.Record) func(masq.Evidence, error) {
	return func(e masq.Evidence, err error) {
		if err != nil {
			warn("ADD: %s: the evidence by which masqd tells that the container is gone is incomplete: %v; without it, only DEL or GC removes the rules", rec.Key, err)
		}
		rec.Evidence, rec.Links = &e, nil
		for _, l := range e.Links {
			rec.Links = append(rec.Links, l.Name)
		}
	}
}

// namedByPrevious returns the names in a result that may be interfaces of the node.
func namedByPrevious(r *types100.Result) (names []string) {
	for _, i := range r.Interfaces {
		if i != nil && i.Sandbox == "" {
			names = append(names, i.Name)
		}
	}
	return names
}

// hostLink is the host's end of the link that was made for an attachment.
func hostLink(rec store.Record) masq.HostLink {
	index := 0
	if rec.Evidence != nil && !rec.Chained && len(rec.Evidence.Links) > 0 {
		index = rec.Evidence.Links[0].Index
	}
	return rec.HostLink(index)
}
