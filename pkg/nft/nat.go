package nft

import (
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// natOptions are the options of a translation. The expressions are encoded here because
// the library omits the flags of a masquerade with ports.
type natOptions struct {
	ipv6        bool
	ports       uint32 // the register of the first port; the last port is in the next one
	fullyRandom bool
}

func (o natOptions) flags() uint32 {
	var f uint32
	if o.ports != 0 {
		f |= unix.NF_NAT_RANGE_PROTO_SPECIFIED
	}
	if o.fullyRandom {
		f |= unix.NF_NAT_RANGE_PROTO_RANDOM_FULLY
	}
	return f
}

func (o natOptions) masquerade() expression {
	var a netlink.Encoder
	if o.ports != 0 {
		a.Uint32(unix.NFTA_MASQ_REG_PROTO_MIN, o.ports)
		a.Uint32(unix.NFTA_MASQ_REG_PROTO_MAX, o.ports+1)
	}
	if f := o.flags(); f != 0 {
		a.Uint32(unix.NFTA_MASQ_FLAGS, f)
	}
	return expression{"masq", a}
}

func (o natOptions) snat() expression {
	a := translation(unix.NFT_NAT_SNAT, o.ipv6)
	if o.ports != 0 {
		a.Uint32(unix.NFTA_NAT_REG_PROTO_MIN, o.ports)
		a.Uint32(unix.NFTA_NAT_REG_PROTO_MAX, o.ports+1)
	}
	// The kernel always sets and reports this flag.
	a.Uint32(unix.NFTA_NAT_FLAGS, o.flags()|unix.NF_NAT_RANGE_MAP_IPS)
	return expression{"nat", a}
}

// dnat translates the destination to the address in the first register, and to the port in
// another.
func dnat(ipv6 bool, port uint32) expression {
	a := translation(unix.NFT_NAT_DNAT, ipv6)
	a.Uint32(unix.NFTA_NAT_REG_PROTO_MIN, port)
	a.Uint32(unix.NFTA_NAT_REG_PROTO_MAX, port)
	// The kernel always sets and reports both flags.
	a.Uint32(unix.NFTA_NAT_FLAGS, unix.NF_NAT_RANGE_PROTO_SPECIFIED|unix.NF_NAT_RANGE_MAP_IPS)
	return expression{"nat", a}
}

// translation begins the attributes of a translation to the address in the first register.
func translation(kind uint32, ipv6 bool) netlink.Encoder {
	var a netlink.Encoder
	a.Uint32(unix.NFTA_NAT_TYPE, kind)
	family := uint32(unix.NFPROTO_IPV4)
	if ipv6 {
		family = unix.NFPROTO_IPV6
	}
	a.Uint32(unix.NFTA_NAT_FAMILY, family)
	a.Uint32(unix.NFTA_NAT_REG_ADDR_MIN, 1)
	a.Uint32(unix.NFTA_NAT_REG_ADDR_MAX, 1)
	return a
}
