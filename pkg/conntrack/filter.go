package conntrack

import (
	"errors"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Filter chooses flows. A field that is zero is not looked at; the zero Filter
// chooses all flows.
//
// The kernel is asked to leave out what it can, so that it need not be copied; what
// it cannot, or an older kernel does not, is left out here. The flows are the same.
type Filter struct {
	Family masq.Family
	// Of each tuple, the fields that are not zero.
	Original, Reply Tuple
	// The bits of the mask have to be as in Status: {StatusMask: SrcNAT} chooses
	// flows whose source is not translated.
	Status, StatusMask Status
	Mark, MarkMask     uint32
	// ByZone has Zone looked at: 0 is a zone too.
	ByZone bool
	Zone   uint16
}

// Validate reports what no flow can be: addresses of two families, and values
// outside their mask.
func (x Filter) Validate() error {
	var errs []error
	family := x.Family
	for _, a := range x.addresses() {
		f := masq.FamilyOf(a)
		if family != 0 && f != family {
			errs = append(errs, fmt.Errorf("filter: address %s among others of IPv%d", a, family))
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

// Match reports whether the filter chooses the flow.
func (x *Filter) Match(f *Flow) bool {
	return f.Status&x.StatusMask == x.Status &&
		f.Mark&x.MarkMask == x.Mark &&
		(!x.ByZone || f.Zone() == x.Zone) &&
		(x.Family == 0 || masq.FamilyOf(f.Original.Src) == x.Family) &&
		x.Original.chooses(&f.Original) && x.Reply.chooses(&f.Reply)
}

// chooses reports whether the fields of t that are not zero are those of u.
func (t *Tuple) chooses(u *Tuple) bool {
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
