package ipfix

import (
	"encoding/binary"
	"math"
	"slices"
	"time"
)

// field is an information element of IANA's registry, as a record has it.
type field struct {
	name   string
	id     uint16
	length uint16 // in bytes, or variable
	put    func([]byte, *Event) []byte
}

// variable is the length of what says in each record how long it is (RFC 7011, 7).
const variable = math.MaxUint16

// template says of what a record consists, in this order.
type template struct {
	id     uint16
	fields []field
}

// The templates of events. What comes first is alike in all, which is of use to
// nobody but readers of a dump.
var (
	begin4 = template{256, slices.Concat(what, from4, owner)}
	end4   = template{257, slices.Concat(what, from4, counts, owner)}
	begin6 = template{258, slices.Concat(what, from6, owner)}
	end6   = template{259, slices.Concat(what, from6, counts, owner)}

	what = []field{
		{"observationTimeMilliseconds", 323, 8, func(b []byte, e *Event) []byte { return milliseconds(b, e.Time) }},
		{"natEvent", 230, 1, func(b []byte, e *Event) []byte { return append(b, e.kind()) }},
		{"protocolIdentifier", 4, 1, func(b []byte, e *Event) []byte { return append(b, e.Proto) }},
	}
	from4 = slices.Concat([]field{
		{"sourceIPv4Address", 8, 4, func(b []byte, e *Event) []byte { a := e.Original.Src.Addr().As4(); return append(b, a[:]...) }},
		{"postNATSourceIPv4Address", 225, 4, func(b []byte, e *Event) []byte { a := e.Translated.Src.Addr().As4(); return append(b, a[:]...) }},
		{"destinationIPv4Address", 12, 4, func(b []byte, e *Event) []byte { a := e.Original.Dst.Addr().As4(); return append(b, a[:]...) }},
		{"postNATDestinationIPv4Address", 226, 4, func(b []byte, e *Event) []byte { a := e.Translated.Dst.Addr().As4(); return append(b, a[:]...) }},
	}, ports, []field{{"icmpTypeCodeIPv4", 32, 2, func(b []byte, e *Event) []byte { return put16(b, e.ICMP) }}})
	from6 = slices.Concat([]field{
		{"sourceIPv6Address", 27, 16, func(b []byte, e *Event) []byte { a := e.Original.Src.Addr().As16(); return append(b, a[:]...) }},
		{"postNATSourceIPv6Address", 281, 16, func(b []byte, e *Event) []byte { a := e.Translated.Src.Addr().As16(); return append(b, a[:]...) }},
		{"destinationIPv6Address", 28, 16, func(b []byte, e *Event) []byte { a := e.Original.Dst.Addr().As16(); return append(b, a[:]...) }},
		{"postNATDestinationIPv6Address", 282, 16, func(b []byte, e *Event) []byte { a := e.Translated.Dst.Addr().As16(); return append(b, a[:]...) }},
	}, ports, []field{{"icmpTypeCodeIPv6", 139, 2, func(b []byte, e *Event) []byte { return put16(b, e.ICMP) }}})
	ports = []field{
		{"sourceTransportPort", 7, 2, func(b []byte, e *Event) []byte { return put16(b, e.Original.Src.Port()) }},
		{"postNAPTSourceTransportPort", 227, 2, func(b []byte, e *Event) []byte { return put16(b, e.Translated.Src.Port()) }},
		{"destinationTransportPort", 11, 2, func(b []byte, e *Event) []byte { return put16(b, e.Original.Dst.Port()) }},
		{"postNAPTDestinationTransportPort", 228, 2, func(b []byte, e *Event) []byte { return put16(b, e.Translated.Dst.Port()) }},
	}
	counts = []field{
		{"initiatorOctets", 231, 8, func(b []byte, e *Event) []byte { return put64(b, e.Bytes[0]) }},
		{"responderOctets", 232, 8, func(b []byte, e *Event) []byte { return put64(b, e.Bytes[1]) }},
		{"initiatorPackets", 298, 8, func(b []byte, e *Event) []byte { return put64(b, e.Packets[0]) }},
		{"responderPackets", 299, 8, func(b []byte, e *Event) []byte { return put64(b, e.Packets[1]) }},
		{"flowDurationMilliseconds", 161, 4, func(b []byte, e *Event) []byte {
			return put32(b, uint32(min(max(e.Duration.Milliseconds(), 0), math.MaxUint32)))
		}},
	}
	owner = []field{
		{"internalAddressRealm", 464, variable, func(b []byte, e *Event) []byte { return text(b, e.Key.Network) }},
		{"virtualStationName", 350, variable, pod},
		{"virtualStationInterfaceName", 348, variable, func(b []byte, e *Event) []byte { return text(b, e.Key.Interface) }},
		{"virtualStationUUID", 349, variable, func(b []byte, e *Event) []byte { return text(b, e.Key.ContainerID) }},
	}
)

// statistics is the options template; its first field is the scope (RFC 7011, 4.3).
var statistics = template{260, []field{
	{name: "exportingProcessId", id: 144, length: 4},
	{name: "exportedFlowRecordTotalCount", id: 42, length: 8},
	{name: "notSentFlowTotalCount", id: 166, length: 8},
	{name: "flowStartMilliseconds", id: 152, length: 8},
	{name: "flowEndMilliseconds", id: 153, length: 8},
}}

// Sets of RFC 7011, 3.3.2.
const (
	templateSet        = 2
	optionsTemplateSet = 3
)

// templates appends the sets that describe everything else.
func templates(b []byte) []byte {
	b, at := beginSet(b, templateSet)
	for _, t := range []*template{&begin4, &end4, &begin6, &end6} {
		b = put16(put16(b, t.id), uint16(len(t.fields)))
		b = specifiers(b, t)
	}
	endSet(b, at)
	b, at = beginSet(b, optionsTemplateSet)
	b = put16(put16(b, statistics.id), uint16(len(statistics.fields)))
	b = put16(b, 1) // field of the scope
	b = specifiers(b, &statistics)
	endSet(b, at)
	return b
}

func specifiers(b []byte, t *template) []byte {
	for _, f := range t.fields {
		b = put16(put16(b, f.id), f.length)
	}
	return b
}

func beginSet(b []byte, id uint16) (_ []byte, at int) {
	at = len(b)
	return put16(put16(b, id), 0), at
}

func endSet(b []byte, at int) { binary.BigEndian.PutUint16(b[at+2:], uint16(len(b)-at)) }

// record appends a data record.
func (t *template) record(b []byte, e *Event) []byte {
	for i := range t.fields {
		b = t.fields[i].put(b, e)
	}
	return b
}

// Values of natEvent (RFC 8158, 4.3, and IANA's registry).
const (
	translationCreate = 1
	translationDelete = 2
	nat44Create       = 4
	nat44Delete       = 5
)

func (e *Event) kind() byte {
	four := e.Original.Src.Addr().Is4()
	switch {
	case four && e.End:
		return nat44Delete
	case four:
		return nat44Create
	case e.End:
		return translationDelete
	default:
		return translationCreate
	}
}

// pod appends namespace/name, or nothing.
func pod(b []byte, e *Event) []byte {
	if e.Pod.Name == "" {
		return text(b)
	}
	return text(b, e.Pod.Namespace, "/", e.Pod.Name)
}

// longest is room for what Kubernetes allows: a namespace of 63 bytes and a name of
// 253.
const longest = 320

// text appends what has a length of its own, in one byte or, from 255 on, in three.
func text(b []byte, parts ...string) []byte {
	n := 0
	for _, s := range parts {
		n += len(s)
	}
	if n = min(n, longest); n < 255 {
		b = append(b, byte(n))
	} else {
		b = put16(append(b, 255), uint16(n))
	}
	for _, s := range parts {
		s = s[:min(len(s), n)]
		b, n = append(b, s...), n-len(s)
	}
	return b
}

func milliseconds(b []byte, t time.Time) []byte { return put64(b, uint64(max(t.UnixMilli(), 0))) }

func put16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }
func put32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }
func put64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }
