package nodeconf

import (
	"errors"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// file is a file that was read, or the error of reading it.
type file struct {
	name string
	data []byte
	err  error
}

// Parse reads one file, YAML or JSON. The name is for messages only. An error is of type
// conftree.Faults. An empty file gives [Default].
func Parse(name string, data []byte) (Node, error) {
	return parse([]file{{name: name, data: data}})
}

// parse reads files and merges them.
func parse(files []file) (Node, error) {
	var (
		r     reader
		names []string
	)
	for _, f := range files {
		names = append(names, f.name)
		if f.err != nil {
			r.Add(unreadable(f.name, f.err))
			continue
		}
		r.file(f.name, f.data)
	}
	n := r.node()
	if r.IsFaulty() {
		return Node{}, r.Faults(names...)
	}
	n.Warnings = r.warnings.Faults(names...)
	return n, nil
}

// node makes the configuration of the settings, and adds the faults of settings that
// do not go together.
func (r *reader) node() Node {
	n, s := Default(), &r.s
	p := &n.Policy
	r.CheckPrefixes(s.nonMasquerade, s.masquerade)
	p.Masquerade = conftree.Values(s.masquerade)
	if n.Assumed = !s.listed; n.Assumed {
		p.NonMasquerade = without(private, p.Masquerade)
	} else {
		p.NonMasquerade = conftree.Values(s.nonMasquerade)
	}
	r.CheckRouted(s.routed, s.snat)
	p.SNATAddresses, p.SNATRouted = conftree.Values(s.snat), conftree.Values(s.routed)
	if s.toPorts != nil {
		p.ToPorts = s.toPorts.Value
		r.CheckPairs(*s.toPorts, p.SNATAddresses)
	}
	if s.clamp != nil {
		p.MSSClamp = s.clamp.Value
	}
	p.MSSClamps = conftree.MSSClampsOf(s.clamps)
	p.Helpers = r.DistinctHelpers("helpers", s.helpers)
	if s.annotationsListed {
		p.AllowAnnotations = append([]string{}, conftree.Values(s.annotations)...)
	}
	n.SourceCIDRs = conftree.Values(s.sources)

	// True overrides false, as Azure's ip-masq-agent-v2 merges its two booleans.
	isTrue := func(a, b bool) bool { return a && !b }
	override(r, "masqLinkLocal", &p.LinkLocal4, s.linkLocal4, isTrue)
	override(r, "masqLinkLocalIPv6", &p.LinkLocal6, s.linkLocal6, isTrue)
	override(r, "randomFully", &p.RandomFully, s.randomFully, isTrue)
	override(r, "dropInvalid", &p.DropInvalid, s.dropInvalid, isTrue)
	override(r, "acceptOtherLinks", &p.AcceptOtherLinks, s.otherLinks, isTrue)
	// The shorter interval also satisfies the file with the longer one.
	override(r, "resyncInterval", &n.ResyncInterval, s.resync, func(a, b time.Duration) bool { return a < b })
	if !r.IsFaulty() {
		// The reader should have found every fault that Validate finds.
		for _, err := range each(p.Validate()) {
			r.Add(conftree.Fault{Message: masq.Clip(err.Error())})
		}
	}
	return n
}

// each returns the errors that errors.Join joined.
func each(err error) []error {
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
