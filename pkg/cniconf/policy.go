package cniconf

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// policy reads the keys of the policy. The annotations of the pod are applied to it later.
func (r *reader) policy() (p masq.Policy, egress []conftree.Found[netip.Addr]) {
	p = masq.Default()
	direct, masqueraded := r.prefixes("nonMasqueradeCIDRs"), r.prefixes("masqueradeCIDRs")
	r.CheckPrefixes(direct, masqueraded)
	p.NonMasquerade, p.Masquerade = conftree.Values(direct), conftree.Values(masqueraded)
	p.LinkLocal4 = r.boolean("masqLinkLocal", p.LinkLocal4)
	p.LinkLocal6 = r.boolean("masqLinkLocalIPv6", p.LinkLocal6)
	egress = r.addresses("snatAddresses")
	routed := r.addresses("snatAddressesRouted")
	r.CheckRouted(routed, egress)
	p.SNATAddresses, p.SNATRouted = conftree.Values(egress), conftree.Values(routed)
	p.ToPorts = r.toPorts(p.SNATAddresses)
	p.RandomFully = r.boolean("randomFully", p.RandomFully)
	p.MSSClamp = r.clamp()
	p.MSSClamps = r.clamps()
	p.Helpers = r.helpers()
	p.DropInvalid = r.boolean("dropInvalid", p.DropInvalid)
	if v, given := r.value("allowAnnotations"); given {
		p.AllowAnnotations = append([]string{}, conftree.Values(r.Annotations("allowAnnotations", v))...)
	}
	p.AcceptOtherLinks = r.boolean("acceptOtherLinks", p.AcceptOtherLinks)
	return p, egress
}

func (r *reader) prefixes(key string) []conftree.Found[netip.Prefix] {
	v, given := r.value(key)
	if !given {
		return nil
	}
	return r.Prefixes(key, v, false)
}

func (r *reader) toPorts(egress []netip.Addr) []masq.PortRange {
	v, given := r.value("toPorts")
	if !given {
		return nil
	}
	ranges, ok := r.PortRanges("toPorts", v)
	if ok {
		r.CheckPairs(conftree.Found[[]masq.PortRange]{Place: v.Place, Value: ranges, Shown: v.Show()}, egress)
	}
	return ranges
}

func (r *reader) clamp() masq.Clamp {
	v, given := r.value("mssClamp")
	if !given {
		return masq.ClampPMTU
	}
	// 1.2e3 and 1200.0 are whole numbers here, as for encoding/json's float64.
	f, err := strconv.ParseFloat(v.Text, 64)
	if v.Kind == conftree.Number && err == nil && f >= masq.ClampMin && f <= masq.ClampMax && f == math.Trunc(f) {
		v.Text = strconv.Itoa(int(f))
	}
	c, _ := r.Clamp("mssClamp", v)
	return c
}

func (r *reader) clamps() masq.MSSClamps {
	v, given := r.value("mssClamps")
	if !given {
		return nil
	}
	return conftree.MSSClampsOf(r.MSSClamps("mssClamps", v))
}

func (r *reader) helpers() []masq.Helper {
	v, given := r.value("helpers")
	if !given {
		return nil
	}
	return r.DistinctHelpers("helpers", r.Helpers("helpers", v))
}

// PolicyFor returns the policy of an attachment with these addresses, each with the
// length of its prefix. It is nil if IPMasq is false. An error is a
// *types.Error of code 7: the attachment has no address of the family of an egress
// address, or an address is not valid.
func (c *Conf) PolicyFor(addresses []netip.Prefix) (*masq.Policy, error) {
	if !c.IPMasq {
		return nil, nil
	}
	var (
		r       reader
		valid   []netip.Prefix
		subnets = slices.Clone(c.IPAMSubnets)
	)
	for _, p := range addresses {
		const key, remedy = "addresses", "correct the configuration of the plugin that assigns the addresses"
		switch {
		case !p.IsValid() || p.Addr().Is4In6():
			r.Fault(conftree.Place{}, key, masq.Quote(p.String()), "is not an address with its prefix length", remedy)
		case p.Bits() == 0:
			r.Fault(conftree.Place{}, key, masq.Quote(p.String()), wholeFamily, remedy)
		default:
			valid = append(valid, p)
			if !p.IsSingleIP() { // a single address does not show the network's subnet
				subnets = append(subnets, p.Masked())
			}
		}
	}
	for _, a := range c.Policy.SNATAddresses {
		if f := masq.FamilyOf(a); !hasFamily(valid, f) {
			r.familyFault(conftree.Place{}, masq.Quote(a.String()), f, fmt.Sprintf("the attachment has no IPv%s address", f))
		}
	}
	if err := r.err(c.Name); err != nil {
		return nil, err
	}
	p := c.Policy
	slices.SortFunc(subnets, netip.Prefix.Compare)
	p.Subnets = slices.Compact(subnets)
	return &p, nil
}

// wholeFamily is the fault of a subnet that contains every address.
const wholeFamily = "makes every destination one of the network's own"
