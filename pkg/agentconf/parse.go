package agentconf

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// file is a file that has been read, or why it could not be.
type file struct {
	name string
	data []byte
	err  error
}

// Parse reads one file, YAML or JSON; its name is for messages only. An error is
// of type Faults. A file that says nothing is as good as none.
func Parse(name string, data []byte) (Node, error) {
	return parse([]file{{name: name, data: data}})
}

// parse reads files and merges what they give.
func parse(files []file) (Node, error) {
	var (
		r     reader
		names []string
	)
	for _, f := range files {
		names = append(names, f.name)
		if f.err != nil {
			r.add(unreadable(f.name, f.err))
			continue
		}
		r.file(f.name, f.data)
	}
	n := r.node()
	if err := r.err(names); err != nil {
		return Node{}, err
	}
	return n, nil
}

// node completes the settings and judges what they are together.
func (r *reader) node() Node {
	n := Default()
	for _, m := range r.s.masquerade {
		if at := before(r.s.nonMasquerade, m.value); at != nil {
			r.fault(m.place, "masqueradeCIDRs", m.shown, "is in nonMasqueradeCIDRs too, "+at.from(m.place), "keep one of them")
		}
	}
	n.Policy.Masquerade = valuesOf(r.s.masquerade)
	if n.Assumed = !r.s.listed; n.Assumed {
		n.Policy.NonMasquerade = without(private, n.Policy.Masquerade)
	} else {
		n.Policy.NonMasquerade = valuesOf(r.s.nonMasquerade)
	}
	set(&n.Policy.LinkLocal4, r.s.linkLocal4)
	set(&n.Policy.LinkLocal6, r.s.linkLocal6)
	n.Policy.SNATAddresses = valuesOf(r.s.snat)
	if ports := r.s.toPorts; ports != nil {
		n.Policy.ToPorts = ports.value
		if wrong := tooManyPairs(n.Policy); wrong != "" {
			r.fault(ports.place, "toPorts", ports.shown, wrong, "give fewer addresses or fewer ranges")
		}
	}
	set(&n.Policy.RandomFully, r.s.randomFully)
	set(&n.Policy.MSSClamp, r.s.clamp)
	n.Policy.Helpers = r.oneHelperEach()
	set(&n.Policy.DropInvalid, r.s.dropInvalid)
	n.SourceCIDRs = valuesOf(r.s.sources)
	set(&n.ResyncInterval, r.s.resync)
	if len(r.all) == 0 {
		// Nothing should be left that this finds. If the vocabulary became
		// stricter than the reader, it has the last word.
		for _, err := range each(n.Policy.Validate()) {
			r.add(Fault{Message: clip(err.Error())})
		}
	}
	return n
}

func set[T any](to *T, f *found[T]) {
	if f != nil {
		*to = f.value
	}
}

func valuesOf[T netip.Prefix | netip.Addr | masq.Helper](all []found[T]) []T {
	var out []T
	for _, f := range all {
		out = append(out, f.value)
	}
	return out
}
