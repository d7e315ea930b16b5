package conntrack

import (
	"errors"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Filter selects flows. Zero fields are not compared: the zero Filter selects all flows.
//
// The kernel filters what it can, so that it copies fewer flows. This package filters the
// rest. The result is the same on each kernel.
type Filter struct {
	Family masq.Family
	// Original and Reply select by the fields of the tuples that are not zero.
	Original, Reply Tuple
	// The bits of StatusMask are compared with Status: {StatusMask: SrcNAT} selects flows
	// without source translation.
	Status, StatusMask Status
	Mark, MarkMask     uint32
	// ByZone says that Zone is compared, which may be 0.
	ByZone bool
	Zone   uint16
}

// Validate reports values that no flow has: addresses of two families, and bits outside a
// mask.
func (x Filter) Validate() error {
	var errs []error
	family := x.Family
	for _, a := range x.addresses() {
		f := masq.FamilyOf(a)
		if family != 0 && f != family {
			errs = append(errs, fmt.Errorf("filter: address %s is not of IPv%d, as others are", a, family))
		}
		family = f
	}
	if family != 0 && family != masq.IPv4 && family != masq.IPv6 {
		errs = append(errs, fmt.Errorf("filter: family %d is neither 4 nor 6", family))
	}
	if x.Status&^x.StatusMask != 0 {
		errs = append(errs, fmt.Errorf("filter: status %#x has bits outside its mask %#x", uint32(x.Status), uint32(x.StatusMask)))
	}
	if x.Mark&^x.MarkMask != 0 {
		errs = append(errs, fmt.Errorf("filter: mark %#x has bits outside its mask %#x", x.Mark, x.MarkMask))
	}
	if x.Zone != 0 && !x.ByZone {
		errs = append(errs, fmt.Errorf("filter: zone %d without ByZone", x.Zone))
	}
	return errors.Join(errs...)
}

// Match reports whether the filter selects the flow.
func (x *Filter) Match(f *Flow) bool {
	return f.Status&x.StatusMask == x.Status &&
		f.Mark&x.MarkMask == x.Mark &&
		(!x.ByZone || f.Zone() == x.Zone) &&
		(x.Family == 0 || masq.FamilyOf(f.Original.Src) == x.Family) &&
		x.Original.selects(&f.Original) && x.Reply.selects(&f.Reply)
}

// selects reports whether u has the values of all fields of t that are not zero.
func (t *Tuple) selects(u *Tuple) bool {
	return (!t.Src.IsValid() || t.Src == u.Src) &&
		(!t.Dst.IsValid() || t.Dst == u.Dst) &&
		(t.Proto == 0 || t.Proto == u.Proto) &&
		(t.SrcPort == 0 || t.SrcPort == u.SrcPort) &&
		(t.DstPort == 0 || t.DstPort == u.DstPort) &&
		(t.ID == 0 || t.ID == u.ID) &&
		(t.Type == 0 || t.Type == u.Type) &&
		(t.Code == 0 || t.Code == u.Code) &&
		(t.Zone == 0 || t.Zone == u.Zone)
}
