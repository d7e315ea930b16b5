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

// field is an information element, by its name in IANA's registry, and the function that sets
// its value.
type field struct {
	name string
	set  func(entities.InfoElementWithValue, *natlog.Record)
}

// layout is a template: its ID and its elements in order.
type layout struct {
	id     uint16
	fields []field
}

// Layouts of data records.
var (
	begin4 = layout{256, slices.Concat(eventFields, ipv4Fields, ownerFields)}
	end4   = layout{257, slices.Concat(eventFields, ipv4Fields, counterFields, ownerFields)}
	begin6 = layout{258, slices.Concat(eventFields, ipv6Fields, ownerFields)}
	end6   = layout{259, slices.Concat(eventFields, ipv6Fields, counterFields, ownerFields)}

	eventFields = []field{
		{"observationTimeMilliseconds", func(v value, e *natlog.Record) { v.SetUnsigned64Value(milliseconds(e.Time)) }},
		{"natEvent", func(v value, e *natlog.Record) { v.SetUnsigned8Value(eventType(e)) }},
		{"protocolIdentifier", func(v value, e *natlog.Record) { v.SetUnsigned8Value(e.Proto) }},
	}
	ipv4Fields = slices.Concat([]field{
		{"sourceIPv4Address", func(v value, e *natlog.Record) { address(v, e.Original.Src) }},
		{"postNATSourceIPv4Address", func(v value, e *natlog.Record) { address(v, e.Translated.Src) }},
		{"destinationIPv4Address", func(v value, e *natlog.Record) { address(v, e.Original.Dst) }},
		{"postNATDestinationIPv4Address", func(v value, e *natlog.Record) { address(v, e.Translated.Dst) }},
	}, portFields, []field{{"icmpTypeCodeIPv4", func(v value, e *natlog.Record) { v.SetUnsigned16Value(e.ICMP) }}})
	ipv6Fields = slices.Concat([]field{
		{"sourceIPv6Address", func(v value, e *natlog.Record) { address(v, e.Original.Src) }},
		{"postNATSourceIPv6Address", func(v value, e *natlog.Record) { address(v, e.Translated.Src) }},
		{"destinationIPv6Address", func(v value, e *natlog.Record) { address(v, e.Original.Dst) }},
		{"postNATDestinationIPv6Address", func(v value, e *natlog.Record) { address(v, e.Translated.Dst) }},
	}, portFields, []field{{"icmpTypeCodeIPv6", func(v value, e *natlog.Record) { v.SetUnsigned16Value(e.ICMP) }}})
	portFields = []field{
		{"sourceTransportPort", func(v value, e *natlog.Record) { v.SetUnsigned16Value(e.Original.Src.Port()) }},
		{"postNAPTSourceTransportPort", func(v value, e *natlog.Record) { v.SetUnsigned16Value(e.Translated.Src.Port()) }},
		{"destinationTransportPort", func(v value, e *natlog.Record) { v.SetUnsigned16Value(e.Original.Dst.Port()) }},
		{"postNAPTDestinationTransportPort", func(v value, e *natlog.Record) { v.SetUnsigned16Value(e.Translated.Dst.Port()) }},
	}
	counterFields = []field{
		{"initiatorOctets", func(v value, e *natlog.Record) { v.SetUnsigned64Value(e.Bytes[0]) }},
		{"responderOctets", func(v value, e *natlog.Record) { v.SetUnsigned64Value(e.Bytes[1]) }},
		{"initiatorPackets", func(v value, e *natlog.Record) { v.SetUnsigned64Value(e.Packets[0]) }},
		{"responderPackets", func(v value, e *natlog.Record) { v.SetUnsigned64Value(e.Packets[1]) }},
		{"flowDurationMilliseconds", func(v value, e *natlog.Record) {
			v.SetUnsigned32Value(uint32(min(max(e.Duration.Milliseconds(), 0), math.MaxUint32)))
		}},
	}
	ownerFields = []field{
		{"internalAddressRealm", func(v value, e *natlog.Record) { octets(v, e.Owner.Network) }},
		{"virtualStationName", func(v value, e *natlog.Record) { v.SetStringValue(pod(e)) }},
		{"virtualStationInterfaceName", func(v value, e *natlog.Record) { v.SetStringValue(text(e.Owner.Interface)) }},
		{"virtualStationUUID", func(v value, e *natlog.Record) { octets(v, e.Owner.ContainerID) }},
	}
)

// statistics is the layout of the options template. Its first field is the scope
// (RFC 7011, 4.3).
var statistics = layout{260, []field{
	{name: "exportingProcessId"},
	{name: "exportedFlowRecordTotalCount"},
	{name: "notSentFlowTotalCount"},
	{name: "flowStartMilliseconds"},
	{name: "flowEndMilliseconds"},
}}

type value = entities.InfoElementWithValue

// template encodes records of a layout. It reuses its values, and is not safe for concurrent
// use.
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
		// The buffer of an address, which address overwrites.
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

// append appends a data record.
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

// optionsTemplateSet is missing in go-ipfix (RFC 7011, 3.3.2).
const optionsTemplateSet = 3

// templates has all templates of an exporter.
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

// append appends the template sets.
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
	// An options template is a template with one more value, the number of scope fields
	// (RFC 7011, 3.4.2.2).
	b = slices.Insert(b, described+entities.TemplateRecordHeaderLength, 0, 1)
	endSet(b, at)
	return b, nil
}

// appendStatistics appends the set of statistics.
func (t templates) appendStatistics(b []byte, id uint32, sent uint64, m lostRecords) ([]byte, error) {
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

// address overwrites the value with an address.
func address(v value, a netip.AddrPort) {
	if whole := a.Addr().As16(); len(v.GetIPAddressValue()) == len(whole) {
		copy(v.GetIPAddressValue(), whole[:])
	} else {
		copy(v.GetIPAddressValue(), whole[12:])
	}
}

// octets overwrites the value with the bytes of a string.
func octets(v value, s string) { v.SetOctetArrayValue(append(v.GetOctetArrayValue()[:0], clip(s)...)) }

// pod returns namespace/name, or "" for a container without a pod.
func pod(e *natlog.Record) string {
	if e.Owner.Name == "" {
		return ""
	}
	return text(e.Owner.Namespace + "/" + e.Owner.Name)
}

// maxText is the longest text in bytes. Kubernetes allows 63 bytes for a namespace and 253
// for a name.
const maxText = 320

// text returns the value of an element of type string, which must be valid UTF-8 (RFC 7011,
// 6.1.6). Control characters and direction marks are valid: a collector has to escape them.
func text(s string) string { return strings.ToValidUTF8(clip(s), "?") }

func clip(s string) string { return s[:min(len(s), maxText)] }

func milliseconds(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

func beginSet(b []byte, id uint16) (_ []byte, at int) {
	at = len(b)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, id), 0), at
}

func endSet(b []byte, at int) { binary.BigEndian.PutUint16(b[at+2:], uint16(len(b)-at)) }
