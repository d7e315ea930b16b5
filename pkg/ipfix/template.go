package ipfix

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmware/go-ipfix/pkg/entities"
	"github.com/vmware/go-ipfix/pkg/registry"

	"github.com/masq-cni/masq-cni/pkg/natlog"
)

// field is an information element by its name in IANA's registry, and what of an event
// it says.
type field struct {
	name string
	set  func(entities.InfoElementWithValue, *natlog.Record)
}

// layout is of which elements a record consists, in this order.
type layout struct {
	id     uint16
	fields []field
}

// The layouts of events. What comes first is alike in all, which is of use to nobody
// but readers of a dump.
var (
	begin4 = layout{256, slices.Concat(what, from4, owner)}
	end4   = layout{257, slices.Concat(what, from4, counts, owner)}
	begin6 = layout{258, slices.Concat(what, from6, owner)}
	end6   = layout{259, slices.Concat(what, from6, counts, owner)}

	what = []field{
		{"observationTimeMilliseconds", func(v value, e *natlog.Record) { v.SetUnsigned64Value(milliseconds(e.Time)) }},
		{"natEvent", func(v value, e *natlog.Record) { v.SetUnsigned8Value(eventType(e)) }},
		{"protocolIdentifier", func(v value, e *natlog.Record) { v.SetUnsigned8Value(e.Proto) }},
	}
	from4 = slices.Concat([]field{
		{"sourceIPv4Address", func(v value, e *natlog.Record) { address(v, e.Original.Src) }},
		{"postNATSourceIPv4Address", func(v value, e *natlog.Record) { address(v, e.Translated.Src) }},
		{"destinationIPv4Address", func(v value, e *natlog.Record) { address(v, e.Original.Dst) }},
		{"postNATDestinationIPv4Address", func(v value, e *natlog.Record) { address(v, e.Translated.Dst) }},
	}, ports, []field{{"icmpTypeCodeIPv4", func(v value, e *natlog.Record) { v.SetUnsigned16Value(e.ICMP) }}})
	from6 = slices.Concat([]field{
		{"sourceIPv6Address", func(v value, e *natlog.Record) { address(v, e.Original.Src) }},
		{"postNATSourceIPv6Address", func(v value, e *natlog.Record) { address(v, e.Translated.Src) }},
		{"destinationIPv6Address", func(v value, e *natlog.Record) { address(v, e.Original.Dst) }},
		{"postNATDestinationIPv6Address", func(v value, e *natlog.Record) { address(v, e.Translated.Dst) }},
	}, ports, []field{{"icmpTypeCodeIPv6", func(v value, e *natlog.Record) { v.SetUnsigned16Value(e.ICMP) }}})
	ports = []field{
		{"sourceTransportPort", func(v value, e *natlog.Record) { v.SetUnsigned16Value(e.Original.Src.Port()) }},
		{"postNAPTSourceTransportPort", func(v value, e *natlog.Record) { v.SetUnsigned16Value(e.Translated.Src.Port()) }},
		{"destinationTransportPort", func(v value, e *natlog.Record) { v.SetUnsigned16Value(e.Original.Dst.Port()) }},
		{"postNAPTDestinationTransportPort", func(v value, e *natlog.Record) { v.SetUnsigned16Value(e.Translated.Dst.Port()) }},
	}
	counts = []field{
		{"initiatorOctets", func(v value, e *natlog.Record) { v.SetUnsigned64Value(e.Bytes[0]) }},
		{"responderOctets", func(v value, e *natlog.Record) { v.SetUnsigned64Value(e.Bytes[1]) }},
		{"initiatorPackets", func(v value, e *natlog.Record) { v.SetUnsigned64Value(e.Packets[0]) }},
		{"responderPackets", func(v value, e *natlog.Record) { v.SetUnsigned64Value(e.Packets[1]) }},
		{"flowDurationMilliseconds", func(v value, e *natlog.Record) {
			v.SetUnsigned32Value(uint32(min(max(e.Duration.Milliseconds(), 0), math.MaxUint32)))
		}},
	}
	owner = []field{
		{"internalAddressRealm", func(v value, e *natlog.Record) { octets(v, e.Owner.Network) }},
		{"virtualStationName", func(v value, e *natlog.Record) { v.SetStringValue(pod(e)) }},
		{"virtualStationInterfaceName", func(v value, e *natlog.Record) { v.SetStringValue(text(e.Owner.Interface)) }},
		{"virtualStationUUID", func(v value, e *natlog.Record) { octets(v, e.Owner.ContainerID) }},
	}
)

// statistics is what an options template describes; its first field is the scope
// (RFC 7011, 4.3).
var statistics = layout{260, []field{
	{name: "exportingProcessId"},
	{name: "exportedFlowRecordTotalCount"},
	{name: "notSentFlowTotalCount"},
	{name: "flowStartMilliseconds"},
	{name: "flowEndMilliseconds"},
}}

type value = entities.InfoElementWithValue

// template makes the records of a layout. One at a time: the values are those of the
// record that was made last.
type template struct {
	layout
	values []value
	record entities.Record
}

var loadRegistry = sync.OnceFunc(registry.LoadRegistry)

func newTemplate(l layout) (*template, error) {
	loadRegistry()
	t := &template{layout: l}
	for _, f := range l.fields {
		element, err := registry.GetInfoElement(f.name, registry.IANAEnterpriseID)
		if err != nil {
			return nil, fmt.Errorf("template %d: %w", l.id, err)
		}
		// Room for an address, which the following are written over.
		var zero []byte
		if a := element.DataType; a == entities.Ipv4Address || a == entities.Ipv6Address {
			zero = make([]byte, element.Len)
		}
		v, err := entities.DecodeAndCreateInfoElementWithValue(element, zero)
		if err != nil {
			return nil, fmt.Errorf("template %d, element %s: %w", l.id, f.name, err)
		}
		t.values = append(t.values, v)
	}
	t.record = entities.NewDataRecordFromElements(l.id, t.values)
	return t, nil
}

// append appends the data record of an event.
func (t *template) append(b []byte, e *natlog.Record) ([]byte, error) {
	for i, f := range t.fields {
		f.set(t.values[i], e)
	}
	return t.record.AppendToBuffer(b)
}

// describe appends the template record.
func (t *template) describe(b []byte) ([]byte, error) {
	r := entities.NewTemplateRecordFromElements(t.id, t.values)
	if err := r.PrepareRecord(); err != nil {
		return nil, err
	}
	return r.AppendToBuffer(b)
}

// optionsTemplateSet is not known to the library (RFC 7011, 3.3.2).
const optionsTemplateSet = 3

// templates are all that an exporter has.
type templates struct {
	events     map[uint16]*template
	statistics *template
}

func newTemplates() (t templates, err error) {
	t.events = map[uint16]*template{}
	for _, l := range []layout{begin4, end4, begin6, end6} {
		if t.events[l.id], err = newTemplate(l); err != nil {
			return t, err
		}
	}
	t.statistics, err = newTemplate(statistics)
	return t, err
}

// append appends the sets that describe everything else.
func (t templates) append(b []byte) (_ []byte, err error) {
	b, at := beginSet(b, entities.TemplateSetID)
	for _, l := range []layout{begin4, end4, begin6, end6} {
		if b, err = t.events[l.id].describe(b); err != nil {
			return nil, err
		}
	}
	endSet(b, at)
	b, at = beginSet(b, optionsTemplateSet)
	described := len(b)
	if b, err = t.statistics.describe(b); err != nil {
		return nil, err
	}
	// An options template says of how many fields the scope is, and else is a template
	// (RFC 7011, 3.4.2.2).
	b = slices.Insert(b, described+entities.TemplateRecordHeaderLength, 0, 1)
	endSet(b, at)
	return b, nil
}

// tell appends the set of statistics.
func (t templates) tell(b []byte, id uint32, sent uint64, m missed) ([]byte, error) {
	v := t.statistics.values
	v[0].SetUnsigned32Value(id)
	v[1].SetUnsigned64Value(sent)
	v[2].SetUnsigned64Value(m.count)
	v[3].SetUnsigned64Value(milliseconds(m.first))
	v[4].SetUnsigned64Value(milliseconds(m.last))
	b, at := beginSet(b, t.statistics.id)
	b, err := t.statistics.record.AppendToBuffer(b)
	if err != nil {
		return nil, err
	}
	endSet(b, at)
	return b, nil
}

// Values of natEvent (RFC 8158, 4.3, and IANA's registry).
const (
	translationCreate = 1
	translationDelete = 2
	nat44Create       = 4
	nat44Delete       = 5
)

func eventType(r *natlog.Record) byte {
	four, end := r.Original.Src.Addr().Is4(), r.Kind == natlog.End
	switch {
	case four && end:
		return nat44Delete
	case four:
		return nat44Create
	case end:
		return translationDelete
	default:
		return translationCreate
	}
}

// templateOf returns the ID of the template that a record is sent with. If the two
// tuples mix families, IPv4 addresses are sent as IPv4-mapped IPv6 addresses.
func templateOf(r *natlog.Record) uint16 {
	four := r.Original.Src.Addr().Is4() && r.Translated.Src.Addr().Is4() && r.Original.Dst.Addr().Is4() && r.Translated.Dst.Addr().Is4()
	switch {
	case four && r.Kind == natlog.Begin:
		return begin4.id
	case four:
		return end4.id
	case r.Kind == natlog.Begin:
		return begin6.id
	default:
		return end6.id
	}
}

// address writes over the one that is there.
func address(v value, a netip.AddrPort) {
	if whole := a.Addr().As16(); len(v.GetIPAddressValue()) == len(whole) {
		copy(v.GetIPAddressValue(), whole[:])
	} else {
		copy(v.GetIPAddressValue(), whole[12:])
	}
}

// octets writes over those that are there.
func octets(v value, s string) { v.SetOctetArrayValue(append(v.GetOctetArrayValue()[:0], clip(s)...)) }

// pod is namespace/name, or nothing.
func pod(e *natlog.Record) string {
	if e.Owner.Name == "" {
		return ""
	}
	return text(e.Owner.Namespace + "/" + e.Owner.Name)
}

// longest is room for what Kubernetes allows: a namespace of 63 bytes and a name of
// 253.
const longest = 320

// text is the value of an element of type string, which is valid UTF-8 (RFC 7011, 6.1.6).
// Control characters and direction marks are valid: a collector has to escape them.
func text(s string) string { return strings.ToValidUTF8(clip(s), "?") }

func clip(s string) string { return s[:min(len(s), longest)] }

func milliseconds(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

func beginSet(b []byte, id uint16) (_ []byte, at int) {
	at = len(b)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, id), 0), at
}

func endSet(b []byte, at int) { binary.BigEndian.PutUint16(b[at+2:], uint16(len(b)-at)) }
