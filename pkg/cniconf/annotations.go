package cniconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// podAnnotations is the capability by which a runtime passes the annotations of
// a pod; containerd and CRI-O know it.
const podAnnotations = "io.kubernetes.cri.pod-annotations"

const (
	egressAnnotation = masq.EgressAnnotation
	snatAnnotation   = masq.SNATAnnotation
)

// allowAnnotations reads the annotations that pods may use; it is nil without the key.
func (r *reader) allowAnnotations() []string {
	const key = "allowAnnotations"
	if _, given := r.value(key); !given {
		return nil
	}
	out := []string{}
	for _, s := range r.texts(key, len(masq.Annotations), "give a list of annotations such as [\""+egressAnnotation+"\"]") {
		name, bad := masq.ParseAnnotation(s)
		switch {
		case bad != nil:
			r.add(key, masq.Quote(s), bad.Wrong, bad.Mend)
		case slices.Contains(out, name):
			r.add(key, masq.Quote(s), "given twice", "keep one")
		default:
			out = append(out, name)
		}
	}
	return out
}

func (r *reader) runtimeConfig() (object, bool) {
	raw, given := r.value("runtimeConfig")
	if !given {
		return object{}, false
	}
	return asObject(raw)
}

// annotations applies the pod's annotations to the policy of its network.
func (r *reader) annotations(p *masq.Policy) {
	const key, place = "runtimeConfig", "runtimeConfig." + podAnnotations
	raw, given := r.value(key)
	if !given {
		return
	}
	o, ok := r.runtimeConfig()
	if !ok {
		r.wrongType(key, raw, "give an object")
		return
	}
	raw, given = o.values[podAnnotations]
	if !given || kindOf(raw) == isNull {
		return
	}
	o, ok = asObject(raw)
	if !ok {
		r.addAt(key, place, show(raw), string(kindOf(raw)), "give an object of strings")
		return
	}
	asked := map[string]string{}
	for _, name := range slices.Sorted(slices.Values(o.keys)) {
		if !strings.HasPrefix(name, masq.AnnotationPrefix) {
			continue
		}
		value, ok := asText(o.values[name])
		switch {
		case !slices.Contains(masq.Annotations, name):
			mend := fmt.Sprintf("use %q or %q", egressAnnotation, snatAnnotation)
			r.addAt(key, "annotation "+masq.Quote(name), show(o.values[name]), "unknown annotation", mend)
		case !ok:
			r.addAt(key, name, show(o.values[name]), string(kindOf(o.values[name])), "give a string")
		default:
			asked[name] = value
		}
	}
	for _, a := range o.again {
		if strings.HasPrefix(a.key, masq.AnnotationPrefix) {
			r.repetitions(key, "annotation", object{again: []repetition{a}})
		}
	}
	r.choices(p, asked)
}

// choices reads the two annotations that there are.
func (r *reader) choices(p *masq.Policy, asked map[string]string) {
	const key = "runtimeConfig"
	egress, hasEgress := asked[egressAnnotation]
	snat, hasSNAT := asked[snatAnnotation]
	var picked []netip.Addr
	if hasSNAT && r.allowed(p, snatAnnotation, snat) {
		picked = r.picked(snat, p.SNATAddresses)
	}
	switch {
	case hasEgress && egress != "direct":
		r.addAt(key, egressAnnotation, masq.Quote(egress), "unknown egress", "give \"direct\", or remove the annotation")
	case hasEgress && hasSNAT:
		r.addAt(key, snatAnnotation, masq.Quote(snat), "the pod is direct, so it leaves with its own address",
			fmt.Sprintf("keep this or %q", egressAnnotation))
	case hasEgress && r.allowed(p, egressAnnotation, egress):
		p.EgressDirect = true
		p.SNATAddresses = nil
	}
	// A family that the pod picks none of keeps what the network has.
	p.SNATAddresses = slices.DeleteFunc(slices.Clone(p.SNATAddresses), func(a netip.Addr) bool {
		return !slices.Contains(picked, a) && slices.ContainsFunc(picked, func(b netip.Addr) bool {
			return masq.FamilyOf(a) == masq.FamilyOf(b)
		})
	})
	p.SNATRouted = slices.DeleteFunc(slices.Clone(p.SNATRouted), func(a netip.Addr) bool { return !slices.Contains(p.SNATAddresses, a) })
}

// allowed reports a valid annotation that the network does not allow.
func (r *reader) allowed(p *masq.Policy, name, value string) bool {
	if p.Allows(name) {
		return true
	}
	wrong, mend := "allowAnnotations of the network does not list this annotation", "remove the annotation, or list it there"
	if p.AllowAnnotations == nil {
		wrong = "not allowed by default where the network has snatAddresses"
		mend = fmt.Sprintf("remove the annotation, or list %q in allowAnnotations of the network", name)
	}
	r.addAt("runtimeConfig", name, masq.Quote(value), wrong, mend)
	return false
}

// picked reads a list of addresses, each one of those that the network allows.
func (r *reader) picked(list string, allowed []netip.Addr) []netip.Addr {
	const key = "runtimeConfig"
	mend := "give addresses of the network's snatAddresses"
	if n := strings.Count(list, ",") + 1; n > masq.MostAddresses {
		r.addAt(key, snatAnnotation, masq.Quote(list), fmt.Sprintf("has %d entries", n), fmt.Sprintf("give at most %d", masq.MostAddresses))
		return nil
	}
	var out []netip.Addr
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			r.addAt(key, snatAnnotation, masq.Quote(s), "is not an address", mend)
		case !slices.Contains(allowed, a):
			r.addAt(key, snatAnnotation, masq.Quote(s), "the network does not allow this address", mend)
		case slices.Contains(out, a):
			r.addAt(key, snatAnnotation, masq.Quote(s), "given twice", "keep one")
		default:
			out = append(out, a)
		}
	}
	return out
}
