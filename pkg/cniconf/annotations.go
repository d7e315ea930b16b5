package cniconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// podAnnotations is the capability by which containerd and CRI-O pass the annotations of
// a pod.
const podAnnotations = "io.kubernetes.cri.pod-annotations"

const (
	egressAnnotation = masq.EgressAnnotation
	snatAnnotation   = masq.SNATAnnotation
)

// annotations applies the annotations of the pod to the policy of its network. Faults
// of annotations have no line and column, because users write annotations into the manifest
// of a pod.
func (r *reader) annotations(p *masq.Policy) {
	config, given := r.value("runtimeConfig")
	if !given {
		return
	}
	if config.Kind != conftree.Object {
		r.WrongType("runtimeConfig", config, "give an object")
		return
	}
	all, given := config.Member(podAnnotations)
	if !given || all.Kind == conftree.Null {
		return
	}
	if all.Kind != conftree.Object {
		r.WrongType("runtimeConfig."+podAnnotations, all, "give an object of strings")
		return
	}
	asked := map[string]string{}
	seen := map[string]bool{}
	members := slices.SortedStableFunc(slices.Values(all.Members), func(a, b conftree.Member) int { return strings.Compare(a.Key.Text, b.Key.Text) })
	for _, m := range members {
		name := m.Key.Text
		switch {
		case !strings.HasPrefix(name, masq.AnnotationPrefix):
		case !slices.Contains(masq.Annotations, name):
			r.annotationFault("annotation "+masq.Quote(name), "", "is unknown", fmt.Sprintf("use %q or %q", egressAnnotation, snatAnnotation))
		case seen[name]:
			r.annotationFault(name, "", "is given twice", "keep one of them")
		case m.Value.Kind != conftree.String:
			r.annotationFault(name, m.Value.Show(), "is not a string", "give a string")
		default:
			asked[name] = m.Value.Text
		}
		seen[name] = true
	}
	r.apply(p, asked)
}

func (r *reader) annotationFault(name, value, wrong, remedy string) {
	r.Fault(conftree.Place{}, name, value, wrong, remedy)
}

// apply applies the two annotations to a policy.
func (r *reader) apply(p *masq.Policy, asked map[string]string) {
	egress, hasEgress := asked[egressAnnotation]
	snat, hasSNAT := asked[snatAnnotation]
	var picked []netip.Addr
	if hasSNAT && r.allowed(p, snatAnnotation, snat) {
		picked = r.picked(snat, p.SNATAddresses)
	}
	switch {
	case hasEgress && egress != "direct":
		r.annotationFault(egressAnnotation, masq.Quote(egress), "is not a kind of egress", "give \"direct\", or remove the annotation")
	case hasEgress && hasSNAT:
		r.annotationFault(snatAnnotation, masq.Quote(snat), fmt.Sprintf("conflicts with %q: a direct pod leaves with its own address", egressAnnotation), "keep one of the two annotations")
	case hasEgress && r.allowed(p, egressAnnotation, egress):
		p.EgressDirect = true
		p.SNATAddresses = nil
	}
	// For a family without a picked address, all addresses of the network remain.
	p.SNATAddresses = slices.DeleteFunc(slices.Clone(p.SNATAddresses), func(a netip.Addr) bool {
		return !slices.Contains(picked, a) && slices.ContainsFunc(picked, func(b netip.Addr) bool {
			return masq.FamilyOf(a) == masq.FamilyOf(b)
		})
	})
	p.SNATRouted = slices.DeleteFunc(slices.Clone(p.SNATRouted), func(a netip.Addr) bool { return !slices.Contains(p.SNATAddresses, a) })
}

// allowed reports whether the network allows a valid annotation. If not, it adds a fault.
func (r *reader) allowed(p *masq.Policy, name, value string) bool {
	if p.Allows(name) {
		return true
	}
	wrong := "is not allowed: allowAnnotations of the network does not list this annotation"
	if p.AllowAnnotations == nil {
		wrong = "is not allowed by default where the network has snatAddresses"
	}
	r.annotationFault(name, masq.Quote(value), wrong, fmt.Sprintf("remove the annotation, or list %q in allowAnnotations of the network", name))
	return false
}

// picked reads the addresses that a pod picks among the egress addresses of the network.
func (r *reader) picked(list string, allowed []netip.Addr) []netip.Addr {
	const remedy = "give addresses of the network's snatAddresses"
	if n := strings.Count(list, ",") + 1; n > masq.MaxSNATAddresses {
		r.annotationFault(snatAnnotation, masq.Quote(list), fmt.Sprintf("has %d entries", n), fmt.Sprintf("give at most %d", masq.MaxSNATAddresses))
		return nil
	}
	var out []netip.Addr
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			r.annotationFault(snatAnnotation, masq.Quote(s), "is not an address", remedy)
		case !slices.Contains(allowed, a):
			r.annotationFault(snatAnnotation, masq.Quote(s), "is not an address that the network allows", remedy)
		case slices.Contains(out, a):
			r.annotationFault(snatAnnotation, masq.Quote(s), "is given twice", "keep one of them")
		default:
			out = append(out, a)
		}
	}
	return out
}
