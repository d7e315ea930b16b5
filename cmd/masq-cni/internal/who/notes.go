package who

import (
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// notes are addresses and flows that need an explanation, each once.
type notes struct {
	unowned      []netip.Addr // no attachment has the address
	untranslated []netip.Addr // a container's own address, which the flow leaves with
	byMasqd      bool         // masqd began a flow for its container
}

// maxExplained is the greatest number of addresses of each kind that are explained.
const maxExplained = 8

func (n *notes) add(q endpoint, f report.Flow) {
	leaves := q.isSource(&f)
	addr := f.Translated.Destination
	if leaves {
		addr = f.Original.Source
	}
	switch {
	case f.Owner == report.Owner{}:
		n.unowned = appendOnce(n.unowned, addr)
	case f.Helper == report.HelperOfMasqd:
		n.byMasqd = true
	case leaves && addr == q.addr:
		n.untranslated = appendOnce(n.untranslated, addr)
	}
}

func appendOnce(all []netip.Addr, a netip.Addr) []netip.Addr {
	if len(all) < maxExplained && !slices.Contains(all, a) {
		all = append(all, a)
	}
	return all
}

func (n *notes) write(w io.Writer) error {
	for _, a := range n.untranslated {
		if _, err := fmt.Fprintf(w, "note: %s is the container's own address; it leaves untranslated\n", a); err != nil {
			return err
		}
	}
	if n.byMasqd {
		if _, err := fmt.Fprintln(w, "note: masqd began the flow for the container, as a helper: the source is masqd's"); err != nil {
			return err
		}
	}
	if len(n.unowned) == 0 {
		return nil
	}
	names, err := node.Holders(n.unowned...)
	if err != nil {
		return err
	}
	for _, a := range n.unowned {
		text := "unknown: no attachment and no interface of the node has the address now. It may belong to a pod of another plugin, or to a removed pod"
		if name, ok := names[a]; ok {
			text = "an address of the node, on interface " + report.Clean(name) + "; the flow is the node's own"
		}
		if _, err := fmt.Fprintf(w, "note: %s is %s\n", a, text); err != nil {
			return err
		}
	}
	return nil
}
