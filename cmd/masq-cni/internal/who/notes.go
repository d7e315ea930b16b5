package who

import (
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// notes are what a table of flows leaves open: who is behind a flow that has no pod,
// and that nothing hides the address of one that has. Each is said once.
type notes struct{ nameless, bare []netip.Addr }

// explained is how many addresses of a kind are, at most.
const explained = 8

func (n *notes) add(q endpoint, f report.Flow) {
	began := q.began(&f)
	behind := f.Translated.Destination
	if began {
		behind = f.Original.Source
	}
	switch {
	case f.Owner == report.Owner{}:
		n.nameless = appendOnce(n.nameless, behind)
	case began && behind == q.addr:
		n.bare = appendOnce(n.bare, behind)
	}
}

func appendOnce(all []netip.Addr, a netip.Addr) []netip.Addr {
	if len(all) < explained && !slices.Contains(all, a) {
		all = append(all, a)
	}
	return all
}

func (n *notes) write(w io.Writer) error {
	for _, a := range n.bare {
		if _, err := fmt.Fprintf(w, "note: %s is the container's own address; it leaves untranslated\n", a); err != nil {
			return err
		}
	}
	if len(n.nameless) == 0 {
		return nil
	}
	names, err := node.Holders(n.nameless...)
	if err != nil {
		return err
	}
	for _, a := range n.nameless {
		text := "unknown: no attachment has the address now, and no interface of the node; another plugin's pod, or one that is gone"
		if name, ok := names[a]; ok {
			text = "the node itself, on " + report.Clean(name)
		}
		if _, err := fmt.Fprintf(w, "note: %s is %s\n", a, text); err != nil {
			return err
		}
	}
	return nil
}
