package reconcile

import "github.com/masq-cni/masq-cni/pkg/masq"

// slimEvidence leaves out what store.Inquiry reads again where a link is gone: what a
// node with many attachments has to keep of each is the index of its link.
func slimEvidence(e *masq.Evidence, intern func(string) string) *masq.Evidence {
	if e == nil {
		return nil
	}
	out := &masq.Evidence{Boot: intern(e.Boot)}
	for _, l := range e.Links {
		if l.Index > 0 {
			out.Links = append(out.Links, masq.HostLink{Index: l.Index})
		}
	}
	if len(out.Links) == 0 {
		out.NetNS = e.NetNS
	}
	return out
}
