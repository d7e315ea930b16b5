package hostlocal

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

var (
	// ErrExhausted is the error of Lease if every address of a range set is leased.
	ErrExhausted = errors.New("no free address")
	// ErrLeased is the error of Lease if the attachment has a lease already, or if the
	// requested address is leased.
	ErrLeased = errors.New("already leased")
	// ErrNoLease is the error of Check if the attachment has no lease.
	ErrNoLease = errors.New("no lease")
)

// Leases are the leases of one network. Each method that changes leases holds the lock of
// the directory, so that other goroutines and processes, host-local included, see all of
// its changes or none.
type Leases struct {
	dir        directory
	sets       []rangeSet
	requested  []netip.Addr
	routes     []*types.Route
	resolvConf string
}

// Dir returns the directory of the leases. The first Lease makes it.
func (l *Leases) Dir() string { return string(l.dir) }

// HasIPv6 reports whether there is a range set of IPv6 addresses.
func (l *Leases) HasIPv6() bool {
	return slices.ContainsFunc(l.sets, func(s rangeSet) bool { return s.ranges[0].first.Is6() })
}

// HasIPv4 reports whether there is a range set of IPv4 addresses.
func (l *Leases) HasIPv4() bool {
	return slices.ContainsFunc(l.sets, func(s rangeSet) bool { return s.ranges[0].first.Is4() })
}

// Lease leases one address of each range set to an attachment: a requested address if the
// set has one. A Lease that fails leaves no lease.
//
// isNew says that the attachment has no lease, so that Lease need not read all leases.
// Otherwise the error for an attachment with a lease is ErrLeased, unless it requests an
// address: then it gets a further address, as from host-local.
func (l *Leases) Lease(containerID, ifname string, isNew bool) (result *types100.Result, err error) {
	h, err := newHolder(containerID, ifname)
	if err != nil {
		return nil, err
	}
	result = &types100.Result{CNIVersion: types100.ImplementedSpecVersion, Routes: l.routes}
	if l.resolvConf != "" {
		if result.DNS, err = resolvConf(l.resolvConf); err != nil {
			return nil, fmt.Errorf("ipam.resolvConf: %w", err)
		}
	}
	lock, err := l.dir.create()
	if err != nil {
		return nil, err
	}
	defer lock.Close()

	var held []netip.Addr
	if !isNew {
		var old []netip.Addr
		if held, old, err = l.heldBy(h); err != nil {
			return nil, err
		}
		held = append(held, old...)
	}
	var taken []netip.Addr
	defer func() {
		if err == nil {
			return
		}
		result = nil
		for _, a := range taken {
			err = errors.Join(err, l.dir.remove(a))
		}
	}()
	requested := slices.Clone(l.requested)
	for i, s := range l.sets {
		var a netip.Addr
		var r addrRange
		if j := slices.IndexFunc(requested, s.contains); j >= 0 {
			a, r, err = l.request(s, requested[j])
			requested = slices.Delete(requested, j, j+1)
		} else {
			a, r, err = l.choose(i, s, held)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.key, err)
		}
		if err = l.dir.put(a, h); err != nil {
			return nil, err
		}
		taken = append(taken, a)
		if err = l.dir.setLatest(i, a); err != nil {
			return nil, err
		}
		result.IPs = append(result.IPs, &types100.IPConfig{
			Address: net.IPNet{IP: a.AsSlice(), Mask: r.mask()},
			Gateway: r.gateway.AsSlice(),
		})
	}
	if len(requested) > 0 {
		return nil, fmt.Errorf("the requested addresses %s cannot be leased: each range set leases one address of its ranges, which are %s", requested, l.sets)
	}
	return result, nil
}

// request returns a requested address, if it is free.
func (l *Leases) request(s rangeSet, a netip.Addr) (netip.Addr, addrRange, error) {
	r := s.ranges[s.find(a)]
	if a == r.gateway {
		return a, r, fmt.Errorf("the requested address %s is the gateway of %s", a, r.subnet)
	}
	leased, err := l.dir.leased(a)
	if err == nil && leased {
		err = fmt.Errorf("the requested address %s is %w: see %s", a, ErrLeased, l.dir.path(a.String()))
	}
	return a, r, err
}

// choose returns the next free address of the i-th range set. held are addresses that the
// attachment already has.
func (l *Leases) choose(i int, s rangeSet, held []netip.Addr) (netip.Addr, addrRange, error) {
	if j := slices.IndexFunc(held, s.contains); j >= 0 {
		return netip.Addr{}, addrRange{}, fmt.Errorf("%w: the attachment has %s: see %s", ErrLeased, held[j], l.dir.path(held[j].String()))
	}
	for a, r := range s.candidates(l.dir.latest(i)) {
		leased, err := l.dir.leased(a)
		if err != nil {
			return a, r, err
		}
		if !leased {
			return a, r, nil
		}
	}
	return netip.Addr{}, addrRange{}, fmt.Errorf(
		"%w in %s; release the leases of removed containers (CNI verb GC, or remove their files in %s), or give the network more addresses",
		ErrExhausted, s, l.dir)
}

// Release releases the addresses of an attachment. If known is not empty, Release reads
// only the leases of these addresses, and ignores leases of other attachments. Otherwise
// it reads all leases. If the attachment has none, Release releases the leases that name its
// container and no interface, which host-local before 0.7 wrote. An attachment without leases
// is no error.
func (l *Leases) Release(containerID, ifname string, known []netip.Addr) error {
	h, err := newHolder(containerID, ifname)
	if err != nil {
		return err
	}
	lock, err := l.dir.lock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()

	// An incomplete lease of a killed writer belongs to no attachment.
	errs := []error{l.dir.removeNew()}
	if len(known) == 0 {
		var old []netip.Addr
		known, old, err = l.heldBy(h)
		if len(known) == 0 {
			known = old
		}
		// Unreadable leases must not keep the others from being released.
		errs = append(errs, err)
	}
	for _, a := range known {
		a = a.Unmap().WithZone("")
		got, _, err := l.dir.holder(a)
		switch {
		case err != nil:
			errs = append(errs, err)
		case got == h || got == h.old():
			errs = append(errs, l.dir.remove(a))
		}
	}
	return errors.Join(errs...)
}

// Check returns ErrNoLease unless the attachment has the lease of each known address. It
// reads only the leases of these addresses, and needs no lock, because a lease appears with
// its content. If known is empty, Check reads all leases, and any lease of the attachment
// is enough, as for host-local.
func (l *Leases) Check(containerID, ifname string, known []netip.Addr) error {
	h, err := newHolder(containerID, ifname)
	if err != nil {
		return err
	}
	none := fmt.Errorf("%s: %w of container %s, interface %s", l.dir, ErrNoLease, containerID, ifname)
	var errs []error
	for _, a := range known {
		a = a.Unmap().WithZone("")
		switch got, leased, err := l.dir.holder(a); {
		case err != nil:
			errs = append(errs, err)
		case !leased:
			errs = append(errs, fmt.Errorf("%w for %s", none, a))
		case got != h && got != h.old():
			errs = append(errs, fmt.Errorf("%w for %s, which is leased to container %q, interface %q", none, a, got.containerID, got.ifname))
		}
	}
	if len(known) > 0 {
		return errors.Join(errs...)
	}
	lock, err := l.dir.lock()
	if errors.Is(err, fs.ErrNotExist) {
		return none
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	held, old, err := l.heldBy(h)
	switch {
	case len(held)+len(old) > 0:
		return nil
	case err != nil:
		return err
	}
	return none
}

// Collect releases every lease within the ranges whose holder is unused, and the empty
// leases of killed writers. Collect calls isUnused while it holds the lock.
//
// A lease that host-local before 0.7 wrote names no interface: isUnused gets an empty ifname,
// and must decide by the container.
func (l *Leases) Collect(isUnused func(containerID, ifname string) bool) error {
	lock, err := l.dir.lock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()

	all, err := l.dir.leases()
	errs := []error{err, l.dir.removeNew()}
	for a, h := range all {
		within := slices.ContainsFunc(l.sets, func(s rangeSet) bool { return s.contains(a) })
		if within && (h == holder{} || isUnused(h.containerID, h.ifname)) {
			errs = append(errs, l.dir.remove(a))
		}
	}
	return errors.Join(errs...)
}

// heldBy returns the addresses of an attachment, and the addresses that host-local before
// 0.7 leased to its container, possibly for another interface.
func (l *Leases) heldBy(h holder) (held, old []netip.Addr, err error) {
	all, err := l.dir.leases()
	for a, got := range all {
		switch got {
		case h:
			held = append(held, a)
		case h.old():
			old = append(old, a)
		}
	}
	slices.SortFunc(held, netip.Addr.Compare)
	slices.SortFunc(old, netip.Addr.Compare)
	return held, old, err
}
