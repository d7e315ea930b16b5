package masq

import "slices"

// Helper is a protocol whose payload names addresses or ports, and the ports
// that its control connections go to.
type Helper struct {
	Name  string   `json:"name"`
	Ports []uint16 `json:"ports"`
}

// Assignment is one way in which the kernel offers a helper: its name there and
// the transport protocol of the control connection.
type Assignment struct {
	Kernel   string
	Protocol string // "tcp" or "udp"
	IPv4Only bool
}

// HelperKind describes a helper that Linux has. Source: the calls of
// nf_ct_helper_init in net/netfilter/nf_conntrack_*.c and
// net/ipv4/netfilter/nf_nat_*.c of Linux 6.18.
type HelperKind struct {
	Name    string
	Module  string // what a kernel that lacks it has to load
	Default uint16 // the port that the protocol is assigned
	Assign  []Assignment
}

// HelperKinds lists every conntrack helper of Linux, by the name that a
// configuration uses.
var HelperKinds = []HelperKind{
	{"amanda", "nf_conntrack_amanda", 10080, []Assignment{{"amanda", "udp", false}}},
	{"ftp", "nf_conntrack_ftp", 21, []Assignment{{"ftp", "tcp", false}}},
	// H.323 is two protocols: registration over UDP, call signalling over TCP.
	{"h323", "nf_conntrack_h323", 1720, []Assignment{{"Q.931", "tcp", false}, {"RAS", "udp", false}}},
	{"irc", "nf_conntrack_irc", 6667, []Assignment{{"irc", "tcp", true}}},
	{"netbios-ns", "nf_conntrack_netbios_ns", 137, []Assignment{{"netbios-ns", "udp", true}}},
	{"pptp", "nf_conntrack_pptp", 1723, []Assignment{{"pptp", "tcp", true}}},
	{"sane", "nf_conntrack_sane", 6566, []Assignment{{"sane", "tcp", false}}},
	{"sip", "nf_conntrack_sip", 5060, []Assignment{{"sip", "udp", false}, {"sip", "tcp", false}}},
	{"snmp", "nf_conntrack_snmp", 161, []Assignment{{"snmp", "udp", true}}},
	{"tftp", "nf_conntrack_tftp", 69, []Assignment{{"tftp", "udp", false}}},
}

// HelperKindOf finds a helper by the name that a configuration uses.
func HelperKindOf(name string) (HelperKind, bool) {
	i := slices.IndexFunc(HelperKinds, func(k HelperKind) bool { return k.Name == name })
	if i < 0 {
		return HelperKind{}, false
	}
	return HelperKinds[i], true
}
