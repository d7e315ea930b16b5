package cniconf

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// policy reads the keys of the policy; annotations come on top of it.
func (r *reader) policy() masq.Policy {
	p := masq.Default()
	p.NonMasquerade, p.Masquerade = r.destinations()
	p.LinkLocal4 = r.boolean("masqLinkLocal", p.LinkLocal4)
	p.LinkLocal6 = r.boolean("masqLinkLocalIPv6", p.LinkLocal6)
	p.SNATAddresses = r.snatAddresses()
	p.SNATRouted = r.snatAddressesRouted(p.SNATAddresses)
	p.ToPorts = r.toPorts(p.SNATAddresses)
	p.RandomFully = r.boolean("randomFully", p.RandomFully)
	p.MSSClamp = r.clamp(p.MSSClamp)
	p.Helpers = r.helpers()
	p.DropInvalid = r.boolean("dropInvalid", p.DropInvalid)
	p.AllowAnnotations = r.allowAnnotations()
	p.AcceptOtherLinks = r.boolean("acceptOtherLinks", p.AcceptOtherLinks)
	return p
}

func (r *reader) clamp(otherwise masq.Clamp) masq.Clamp {
	raw, given := r.value("mssClamp")
	if !given {
		return otherwise
	}
	mend := fmt.Sprintf("give \"pmtu\", \"off\" or %d-%d", masq.ClampMin, masq.ClampMax)
	var c masq.Clamp
	if err := c.UnmarshalJSON(raw); err == nil {
		return c
	}
	switch kindOf(raw) {
	case isString:
		r.add("mssClamp", show(raw), "is neither \"pmtu\" nor \"off\"", mend)
	case isNumber:
		r.add("mssClamp", show(raw), fmt.Sprintf("is not a number of bytes within %d-%d", masq.ClampMin, masq.ClampMax), mend)
	default:
		r.wrongType("mssClamp", raw, mend)
	}
	return otherwise
}

// PolicyFor completes the policy for the addresses of an attachment, given as
// the prefixes that they were assigned with. It is nil where the network asked
// for the link alone. An error is a *types.Error of code 7: an egress address
// whose family the attachment has no address of, or an address that is none.
func (c *Conf) PolicyFor(addresses []netip.Prefix) (*masq.Policy, error) {
	if !c.IPMasq {
		return nil, nil
	}
	var (
		fs      faults
		sound   []netip.Prefix
		subnets = slices.Clone(c.IPAMSubnets)
	)
	for _, p := range addresses {
		const key, mend = "addresses", "mend what assigns the addresses, the IPAM plugin or the plugin before"
		switch {
		case !p.IsValid() || p.Addr().Is4In6():
			fs.add(key, masq.Quote(p.String()), "is not an address with its prefix length", mend)
		case p.Bits() == 0:
			fs.add(key, masq.Quote(p.String()), "makes every destination one of the network's own", mend)
		default:
			sound = append(sound, p)
			if !p.IsSingleIP() { // a single address says nothing of the network
				subnets = append(subnets, p.Masked())
			}
		}
	}
	for _, a := range c.Policy.SNATAddresses {
		f := masq.FamilyOf(a)
		if !hasFamily(sound, f) {
			fs.add("snatAddresses", masq.Quote(a.String()), fmt.Sprintf("the attachment has no IPv%s address", f),
				fmt.Sprintf("remove it, or give the network an IPv%s subnet", f))
		}
	}
	if err := fs.err(c.Name); err != nil {
		return nil, err
	}
	p := c.Policy
	slices.SortFunc(subnets, netip.Prefix.Compare)
	p.Subnets = slices.Compact(subnets)
	return &p, nil
}
