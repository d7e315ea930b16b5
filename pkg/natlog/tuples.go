package natlog

import (
	"encoding/binary"
	"net/netip"
)

// loadTuples reads owners, addresses and ports.
func (d *decoder) loadTuples() error {
	if d.hasTuples {
		return nil
	}
	if err := d.loadClasses(); err != nil {
		return err
	}
	if err := d.loadLocals(); err != nil {
		return err
	}
	if err := d.loadRemotes(); err != nil {
		return err
	}
	var err error
	if d.localOf, err = d.references(d.localOf[:0], colLocalLow, d.tuples, len(d.locals)); err != nil {
		return err
	}
	if d.remoteOf, err = d.references(d.remoteOf[:0], colRemoteLow, d.tuples, len(d.remotes)); err != nil {
		return err
	}
	d.hasTuples = true
	return nil
}

func (d *decoder) loadLocals() error {
	b, err := d.columnUpTo(colOwners, maxColumn)
	if err != nil {
		return err
	}
	var all []*owner
	for len(b) != 0 {
		o := &owner{}
		if b, err = takeOwner(b, &o.Owner); err != nil {
			return err
		}
		if all = append(all, o); len(all) > int(d.head.count) {
			return errCorrupt("more attachments than records, which are %d", d.head.count)
		}
	}
	if b, err = d.columnUpTo(colLocals, 20*int(d.head.count)); err != nil {
		return err
	}
	d.locals = d.locals[:0]
	used := 0
	for len(b) != 0 {
		code, n := binary.Uvarint(b)
		if n <= 0 || code > uint64(used) || len(b) == n {
			return errCorrupt("a local address refers to attachment %d", code)
		}
		if code == 0 {
			used++
			code = uint64(used)
		}
		if code > uint64(len(all)) {
			return errCorrupt("a local address refers to attachment %d of %d", code, len(all))
		}
		l := local{owner: all[code-1]}
		if b[n] == 0 {
			return errCorrupt("a local address is missing")
		}
		if l.addr, b, err = takeAddr(b[n+1:], int(b[n])); err != nil {
			return err
		}
		if d.locals = append(d.locals, l); len(d.locals) > int(d.head.count) {
			return errCorrupt("more local addresses than records, which are %d", d.head.count)
		}
	}
	return nil
}

func (d *decoder) loadRemotes() error {
	flags, err := d.columnUpTo(colRemotes, int(d.head.count))
	if err != nil {
		return err
	}
	addrs, err := d.columnUpTo(colRemoteAddrs, 32*int(d.head.count))
	if err != nil {
		return err
	}
	ports, err := d.columnUpTo(colRemotePorts, 4*int(d.head.count))
	if err != nil {
		return err
	}
	take := func(is6 bool) (p netip.AddrPort, err error) {
		n := 4
		if is6 {
			n = 16
		}
		var a netip.Addr
		if a, addrs, err = takeAddr(addrs, n); err != nil {
			return p, err
		}
		if len(ports) < 2 {
			return p, errCorrupt("a port is missing")
		}
		p = netip.AddrPortFrom(a, binary.LittleEndian.Uint16(ports))
		ports = ports[2:]
		return p, nil
	}
	d.remotes = d.remotes[:0]
	for _, f := range flags {
		if f >= 1<<remoteBits {
			return errCorrupt("a destination has the unknown flags %#x", f)
		}
		var r remote
		if r.original, err = take(f&remoteIs6 != 0); err != nil {
			return err
		}
		r.translated = r.original
		if f&remoteChanged != 0 {
			if r.translated, err = take(f&translatedIs6 != 0); err != nil {
				return err
			}
		}
		d.remotes = append(d.remotes, r)
	}
	if len(addrs) != 0 || len(ports) != 0 {
		return errCorrupt("%d bytes of addresses and %d bytes of ports are unused", len(addrs), len(ports))
	}
	return nil
}

// loadCounts reads packets and bytes of ends, and lost records of gaps.
func (d *decoder) loadCounts() error {
	if d.hasCounts {
		return nil
	}
	if err := d.loadClasses(); err != nil {
		return err
	}
	var err error
	for i := range d.counts {
		if d.counts[i], err = d.numbers(d.counts[i][:0], colCounts+2*i, d.ends); err != nil {
			return err
		}
	}
	if d.lost, err = d.numbers(d.lost[:0], colLostLens, d.gaps); err != nil {
		return err
	}
	d.hasCounts = true
	return nil
}

// loadAll reads all columns, after which row may be called.
func (d *decoder) loadAll() error {
	for _, load := range [...]func() error{d.loadTimes, d.loadTuples, d.loadCounts} {
		if err := load(); err != nil {
			return err
		}
	}
	if d.tuples == 0 {
		return nil
	}
	_, err := d.sourcePort(0)
	return err
}

// row decodes row i. loadAll must have been called.
func (d *decoder) row(i int, w *row) {
	c := &d.classes[d.classOf[i]]
	*w = row{time: d.times[i], began: d.begans[i], kind: c.kind, proto: c.proto}
	if c.kind == Gap {
		w.lost = d.lost[d.gapIndex[i]]
		return
	}
	at := d.tupleIndex[i]
	l, r := &d.locals[d.localOf[at]], &d.remotes[d.remoteOf[at]]
	port, _ := d.sourcePort(i)
	w.owner = l.owner
	w.original = Tuple{netip.AddrPortFrom(l.addr, port), r.original}
	w.translated = Tuple{netip.AddrPortFrom(c.egress, d.port(i)), r.translated}
	if c.kind == End {
		at := d.endIndex[i]
		for j := range 2 {
			w.packets[j], w.bytes[j] = d.counts[j][at], d.counts[2+j][at]
		}
	}
}
