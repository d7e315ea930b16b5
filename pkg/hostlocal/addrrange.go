package hostlocal

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// addrRange is a range of addresses, first and last included, within one subnet.
type addrRange struct {
	subnet      netip.Prefix
	first, last netip.Addr
	gateway     netip.Addr // never leased; may be outside the subnet
}

// rangeConf is the configuration of a range.
type rangeConf struct {
	RangeStart address `json:"rangeStart"`
	RangeEnd   address `json:"rangeEnd"`
	Subnet     subnet  `json:"subnet"`
	Gateway    address `json:"gateway"`
}

// fault returns the faults of all values that cannot be read. key is the key of the range.
func (c rangeConf) fault(key string) error {
	var faults []error
	for _, f := range []struct {
		key string
		err error
	}{
		{"subnet", c.Subnet.fault},
		{"rangeStart", c.RangeStart.fault},
		{"rangeEnd", c.RangeEnd.fault},
		{"gateway", c.Gateway.fault},
	} {
		if f.err != nil {
			faults = append(faults, fmt.Errorf("%s.%s: %w", key, f.key, f.err))
		}
	}
	return errors.Join(faults...)
}

// span returns the range, with defaults for missing values. Gateway and first address are
// the first address of the subnet. The last address is the last of the subnet, in IPv4 the
// address before the broadcast address.
func (c rangeConf) span(key string) (addrRange, error) {
	if err := c.fault(key); err != nil {
		return addrRange{}, err
	}
	if !c.Subnet.IsValid() {
		return addrRange{}, fmt.Errorf("%s.subnet is missing; give a subnet such as \"10.0.0.0/24\"", key)
	}
	s := addrRange{c.Subnet.Prefix, c.RangeStart.Addr, c.RangeEnd.Addr, c.Gateway.Addr}
	if !s.gateway.IsValid() {
		s.gateway = s.subnet.Addr().Next()
	}
	if !s.first.IsValid() {
		s.first = s.subnet.Addr().Next()
	}
	if !s.last.IsValid() {
		s.last = masq.LastAddr(s.subnet)
		if s.last.Is4() {
			s.last = s.last.Prev()
		}
	}
	var faults []error
	if !s.subnet.Contains(s.first) {
		faults = append(faults, fmt.Errorf("%s.rangeStart: %s is not in subnet %s; give an address of the subnet", key, s.first, s.subnet))
	}
	if !s.subnet.Contains(s.last) {
		faults = append(faults, fmt.Errorf("%s.rangeEnd: %s is not in subnet %s; give an address of the subnet", key, s.last, s.subnet))
	}
	if faults == nil && s.last.Less(s.first) {
		faults = append(faults, fmt.Errorf("%s: the range ends at %s, before its start %s; give a rangeEnd that is not below rangeStart", key, s.last, s.first))
	}
	return s, errors.Join(faults...)
}

func (s addrRange) contains(a netip.Addr) bool {
	return s.subnet.Contains(a) && !a.Less(s.first) && !s.last.Less(a)
}

func (s addrRange) overlaps(t addrRange) bool {
	return s.first.BitLen() == t.first.BitLen() && !s.last.Less(t.first) && !t.last.Less(s.first)
}

func (s addrRange) String() string { return s.first.String() + "-" + s.last.String() }

func (s addrRange) mask() net.IPMask { return net.CIDRMask(s.subnet.Bits(), s.subnet.Addr().BitLen()) }
