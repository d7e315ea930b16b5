package reconcile

import (
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// compact omits fields that a sync does not need, and shares the memory of values that many
// records have.
func (c *Cache) compact(r store.Record) store.Record {
	r.Pod, r.NetNS, r.Links = masq.Pod{}, "", nil
	r.Prefixes, r.Routes = nil, nil // the container's end of the link is not compared
	r.Evidence = compactEvidence(r.Evidence, c.intern)
	for _, s := range []*string{&r.Network, &r.Interface, &r.IPAM, &r.CNIPath} {
		*s = c.intern(*s)
	}
	if r.Policy == nil {
		return r
	}
	content := contentOf(r.Policy)
	if known := c.policies[content]; known != nil {
		r.Policy = known
	} else {
		c.policies[content] = r.Policy
	}
	return r
}

// compactEvidence keeps the indexes of the links. store.ContainerCheck reads the rest from
// disk if a link is missing.
func compactEvidence(e *masq.Evidence, intern func(string) string) *masq.Evidence {
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

// contentOf returns a text that is equal for policies that may share memory. The digest
// leaves out the annotations that a network allows, which decide how the node's policy
// applies to an attachment. A missing list of annotations differs from an empty one.
func contentOf(p *masq.Policy) string {
	if p.AllowAnnotations == nil {
		return p.Digest()
	}
	return p.Digest() + "/" + strings.Join(p.AllowAnnotations, ",")
}

// intern returns a text equal to s that records share.
func (c *Cache) intern(s string) string {
	if known, ok := c.texts[s]; ok {
		return known
	}
	s = strings.Clone(s)
	c.texts[s] = s
	return s
}
