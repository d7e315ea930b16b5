package nodeconf

import (
	"errors"
	"net/netip"
	"slices"

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
	if len(r.all) > 0 {
		return Node{}, r.sorted(names)
	}
	n.Warnings = r.warnings.sorted(names)
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
	prevail(r, "masqLinkLocal", &n.Policy.LinkLocal4, r.s.linkLocal4, or)
	prevail(r, "masqLinkLocalIPv6", &n.Policy.LinkLocal6, r.s.linkLocal6, or)
	n.Policy.SNATAddresses = valuesOf(r.s.snat)
	for _, a := range r.s.routed {
		if !slices.Contains(n.Policy.SNATAddresses, a.value) {
			r.fault(a.place, "snatAddressesRouted", a.shown, "is not one of snatAddresses", "add it to snatAddresses, or remove it")
		}
	}
	n.Policy.SNATRouted = valuesOf(r.s.routed)
	if ports := r.s.toPorts; ports != nil {
		n.Policy.ToPorts = ports.value
		if wrong := masq.TooManyPairs(len(ports.value), n.Policy.SNATAddresses); wrong != "" {
			r.fault(ports.place, "toPorts", ports.shown, wrong, "give fewer addresses or fewer ranges")
		}
	}
	prevail(r, "randomFully", &n.Policy.RandomFully, r.s.randomFully, or)
	if r.s.clamp != nil {
		n.Policy.MSSClamp = r.s.clamp.value
	}
	n.Policy.Helpers = r.oneHelperEach()
	prevail(r, "dropInvalid", &n.Policy.DropInvalid, r.s.dropInvalid, or)
	if r.s.annotations != nil {
		n.Policy.AllowAnnotations = append([]string{}, valuesOf(r.s.annotations)...)
	}
	prevail(r, "acceptOtherLinks", &n.Policy.AcceptOtherLinks, r.s.otherLinks, or)
	n.SourceCIDRs = valuesOf(r.s.sources)
	prevail(r, "resyncInterval", &n.ResyncInterval, r.s.resync, sooner)
	if len(r.all) == 0 {
		// Nothing should be left that this finds. If the vocabulary became
		// stricter than the reader, it has the last word.
		for _, err := range each(n.Policy.Validate()) {
			r.add(Fault{Message: masq.Clip(err.Error())})
		}
	}
	return n
}

func valuesOf[T netip.Prefix | netip.Addr | masq.Helper | string](all []found[T]) []T {
	var out []T
	for _, f := range all {
		out = append(out, f.value)
	}
	return out
}

// each takes apart what errors.Join put together.
func each(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
