package nodeconf

import "github.com/masq-cni/masq-cni/pkg/masq"

// allowAnnotations reads the annotations that pods may use, and unites them with those
// of other files.
func (r *reader) allowAnnotations(k key, v value) {
	if r.s.annotations == nil {
		r.s.annotations = []found[string]{} // an empty list forbids all
	}
	for _, item := range r.texts(k.name, v, len(masq.Annotations), "give a list of annotations such as [\""+masq.EgressAnnotation+"\"]") {
		name, bad := masq.ParseAnnotation(item.text)
		if bad != nil {
			r.fault(item.place, k.name, item.show(), bad.Wrong, bad.Mend)
			continue
		}
		r.again(k.name, item, before(r.s.annotations, name), false)
		unite(r, k.name, &r.s.annotations, found[string]{item.place, name, item.show()}, len(masq.Annotations))
	}
}
