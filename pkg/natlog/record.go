package natlog

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Kind is the kind of a record.
type Kind uint8

// Kinds of records: a flow began, a flow ended, and records are missing.
const (
	Begin Kind = iota + 1
	End
	Gap
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Begin:
		return "begin"
	case End:
		return "end"
	case Gap:
		return "gap"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// Owner is the attachment that a flow belongs to.
type Owner struct {
	masq.Key
	masq.Pod
}

// Tuple is the source and the destination of a flow's first packet. The port is 0 for
// protocols without ports. For ICMP the port of the source is the identifier.
type Tuple struct {
	Src, Dst netip.AddrPort
}

// Record is the begin or the end of a translated flow, or a Gap. masqd appends it to the
// log and to the IPFIX exporter.
type Record struct {
	// Time is when the flow began or ended, or when the gap ended, in milliseconds.
	Time time.Time
	Kind Kind
	// Owner to Translated are set for Begin and End only.
	Owner Owner
	Proto uint8 // IP protocol number; 6 is TCP
	// ICMP is type<<8 | code of the packet that began an ICMP flow, 0 for other
	// protocols. An IPFIX collector receives it; files do not keep it.
	ICMP     uint16
	Original Tuple // as sent by the container
	// Translated is the same packet after translation: its source is the egress address
	// and port.
	Translated Tuple
	// Packets and Bytes count the original direction and the reply direction. They are
	// set for End only.
	Packets, Bytes [2]uint64
	// Duration is how long the flow was open, or how long the gap lasted, in
	// milliseconds; 0 if unknown.
	Duration time.Duration
	// Lost is the number of records that are missing in a gap. It is 0 if the number is
	// unknown, for example because no writer ran.
	Lost uint64
}

// Began returns when the flow or the gap began. It is Time if Duration is unknown.
func (r *Record) Began() time.Time { return r.Time.Add(-max(r.Duration, 0)) }

// row is a record in memory and in a block: times are milliseconds since 1970, and owners
// are pointers to a shared value.
type row struct {
	time, began          int64
	owner                *owner
	original, translated Tuple
	packets, bytes       [2]uint64
	lost                 uint64
	kind                 Kind
	proto                uint8
}

var (
	errKind    = errors.New("kind is none of begin, end and gap; set Kind")
	errAddress = errors.New("an address is missing; set both tuples")
	errZone    = errors.New("an address has a zone; remove the zone")
)

// Validate reports why a record can be neither logged nor exported.
func (r *Record) Validate() error {
	switch r.Kind {
	case Gap:
		return nil
	case Begin, End:
	default:
		return fmt.Errorf("%s: %w", r.Kind, errKind)
	}
	for _, a := range [...]netip.Addr{r.Original.Src.Addr(), r.Original.Dst.Addr(), r.Translated.Src.Addr(), r.Translated.Dst.Addr()} {
		if !a.IsValid() {
			return fmt.Errorf("%s of flow %v, translated %v: %w", r.Kind, r.Original, r.Translated, errAddress)
		}
		if a.Zone() != "" {
			return fmt.Errorf("%s of flow %v, translated %v: %w", r.Kind, r.Original, r.Translated, errZone)
		}
	}
	return nil
}

// set copies a valid record, except its owner.
func (w *row) set(r *Record) error {
	if err := r.Validate(); err != nil {
		return err
	}
	*w = row{time: r.Time.UnixMilli(), kind: r.Kind}
	w.began = w.time
	if r.Kind != Begin {
		w.began = min(r.Began().UnixMilli(), w.time)
	}
	if r.Kind == Gap {
		w.lost = r.Lost
		return nil
	}
	w.proto, w.original, w.translated = r.Proto, r.Original, r.Translated
	if r.Kind == End {
		w.packets, w.bytes = r.Packets, r.Bytes
	}
	return nil
}

// record writes the row to r.
func (w *row) record(r *Record) {
	*r = Record{
		Time: time.UnixMilli(w.time), Kind: w.kind, Proto: w.proto,
		Original: w.original, Translated: w.translated,
		Packets: w.packets, Bytes: w.bytes, Lost: w.lost,
		Duration: durationOf(w.time - w.began),
	}
	if w.owner != nil {
		r.Owner = w.owner.Owner
	}
}

// durationOf converts milliseconds of a file. Values out of range are clamped.
func durationOf(ms int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(min(max(ms, 0), most)) * time.Millisecond
}
