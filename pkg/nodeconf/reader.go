package nodeconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// settings are the settings of all files, each with its place.
type settings struct {
	listed        bool // a file gives nonMasqueradeCIDRs
	nonMasquerade []conftree.Found[netip.Prefix]
	masquerade    []conftree.Found[netip.Prefix]
	sources       []conftree.Found[netip.Prefix]
	snat, routed  []conftree.Found[netip.Addr]
	helpers       []conftree.Found[masq.Helper]
	clamps        []conftree.Found[conftree.MSSClamp]

	annotationsListed bool // a file gives allowAnnotations; an empty list allows none
	annotations       []conftree.Found[string]

	// One of several values overrides the others.
	linkLocal4, linkLocal6   []conftree.Found[bool]
	randomFully, dropInvalid []conftree.Found[bool]
	otherLinks               []conftree.Found[bool]
	resync                   []conftree.Found[time.Duration]

	// Two different values are a fault.
	toPorts *conftree.Found[[]masq.PortRange]
	clamp   *conftree.Found[masq.Clamp]
}

// reader reads files key by key and collects faults, so that one fault does not hide
// the others.
type reader struct {
	conftree.Reader
	warnings conftree.Reader
	s        settings
	limit    int // cidrLimit of the file that is being read
}

// manifestKeys are keys of a ConfigMap itself.
var manifestKeys = []string{"apiVersion", "kind", "metadata", "data"}

// file reads one file.
func (r *reader) file(name string, data []byte) {
	top := decode(name, data, &r.Reader)
	switch top.Kind {
	case conftree.Invalid, conftree.Null:
		return
	case conftree.Object:
	default:
		r.WrongType("", top, "give keys and values, such as nonMasqueradeCIDRs: [10.0.0.0/8]")
		return
	}
	given := map[string]conftree.Value{}
	for _, m := range top.Members {
		k, known := r.known(m)
		if _, again := given[k.name]; known && !again {
			given[k.name] = m.Value
		}
	}
	r.CheckRepeatedKeys(top, func(name string) string {
		if k, known := keyOf(name); known {
			return k.name
		}
		return masq.Quote(name)
	})
	r.limit = defaultLimit
	if n, ok := given["cidrLimit"].Whole(); ok {
		r.limit = n
	}
	for _, k := range keys {
		if v := given[k.name]; v.Kind != conftree.Invalid {
			k.read(r, k, v)
		}
	}
}

// known finds the key of a member. An unknown key is a fault.
func (r *reader) known(m conftree.Member) (key, bool) {
	switch m.Key.Kind {
	case conftree.Invalid:
		return key{}, false
	case conftree.List, conftree.Object:
		r.WrongType("", m.Key, "give a name as the key")
		return key{}, false
	}
	if k, ok := keyOf(m.Key.Text); ok {
		return k, true
	}
	remedy := masq.UnknownKey(m.Key.Text, keyNames())
	switch {
	case slices.Contains(manifestKeys, m.Key.Text):
		remedy = "give the text below data of the ConfigMap, not the manifest"
	case m.Value.Kind == conftree.String && (m.Key.Text == "config" || strings.Contains(m.Value.Text, "\n")):
		remedy = fmt.Sprintf("give the text below data.%s of the ConfigMap, without this key and without its indentation", m.Key.Text)
	}
	r.Fault(m.Key.Place, masq.Quote(m.Key.Text), "", "is an unknown key", remedy)
	return key{}, false
}

// toPorts reads source ports.
func (r *reader) toPorts(k key, v conftree.Value) {
	if ranges, ok := r.PortRanges(k.name, v); ok {
		single(r, k.name, &r.s.toPorts, conftree.Found[[]masq.PortRange]{Place: v.Place, Value: ranges, Shown: v.Show()}, slices.Equal)
	}
}

// mssClamp reads the limit of the maximum segment size.
func (r *reader) mssClamp(k key, v conftree.Value) {
	if c, ok := r.Clamp(k.name, v); ok {
		single(r, k.name, &r.s.clamp, conftree.Found[masq.Clamp]{Place: v.Place, Value: c, Shown: v.Show()}, func(a, b masq.Clamp) bool { return a == b })
	}
}
