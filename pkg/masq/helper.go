package masq

import "slices"

// Helper is a protocol that carries addresses or ports in its payload, and the ports of its
// control connections.
type Helper struct {
	Name  string   `json:"name"`
	Ports []uint16 `json:"ports"`
}

// Assignment is one helper of the kernel for a protocol.
type Assignment struct {
	Kernel   string // the kernel's name of the helper
	Protocol string // "tcp" or "udp", for the control connection
	Port     uint16 // assigned to the protocol
	IPv4Only bool
}

// HelperKind describes a helper of Linux. Source: the calls of
// nf_ct_helper_init in net/netfilter/nf_conntrack_*.c and
// net/ipv4/netfilter/nf_nat_*.c of Linux 6.18.
type HelperKind struct {
	Name   string
	Module string // the kernel module
	NAT    string // the module that translates the payload; "" for none
	Assign []Assignment
}

// HelperKinds lists the conntrack helpers of Linux by their names in a configuration.
// snmp_trap (udp 162) is part of nf_nat_snmp_basic and is not a helper of its own.
var HelperKinds = []HelperKind{
	{"amanda", "nf_conntrack_amanda", "nf_nat_amanda", []Assignment{{"amanda", "udp", 10080, false}}},
	{"ftp", "nf_conntrack_ftp", "nf_nat_ftp", []Assignment{{"ftp", "tcp", 21, false}}},
	// H.323 is two protocols: registration over UDP, call signalling over TCP.
	{"h323", "nf_conntrack_h323", "nf_nat_h323", []Assignment{{"Q.931", "tcp", 1720, false}, {"RAS", "udp", 1719, false}}},
	{"irc", "nf_conntrack_irc", "nf_nat_irc", []Assignment{{"irc", "tcp", 6667, true}}},
	{"netbios-ns", "nf_conntrack_netbios_ns", "", []Assignment{{"netbios-ns", "udp", 137, true}}},
	{"pptp", "nf_conntrack_pptp", "nf_nat_pptp", []Assignment{{"pptp", "tcp", 1723, true}}},
	{"sane", "nf_conntrack_sane", "", []Assignment{{"sane", "tcp", 6566, false}}},
	{"sip", "nf_conntrack_sip", "nf_nat_sip", []Assignment{{"sip", "udp", 5060, false}, {"sip", "tcp", 5060, false}}},
	{"snmp", "nf_conntrack_snmp", "nf_nat_snmp_basic", []Assignment{{"snmp", "udp", 161, true}}},
	{"tftp", "nf_conntrack_tftp", "nf_nat_tftp", []Assignment{{"tftp", "udp", 69, false}}},
}

// HelperNames returns the names of HelperKinds.
func HelperNames() []string {
	var out []string
	for _, k := range HelperKinds {
		out = append(out, k.Name)
	}
	return out
}

// Ports returns the ports that are assigned to the protocol, in ascending order.
func (k HelperKind) Ports() []uint16 {
	var out []uint16
	for _, a := range k.Assign {
		out = append(out, a.Port)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// HelperKindOf returns the helper with this name in a configuration.
func HelperKindOf(name string) (HelperKind, bool) {
	i := slices.IndexFunc(HelperKinds, func(k HelperKind) bool { return k.Name == name })
	if i < 0 {
		return HelperKind{}, false
	}
	return HelperKinds[i], true
}
