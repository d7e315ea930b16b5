package masq

import "slices"

// Helper is a protocol that carries addresses or ports in its payload, and the ports of its
// control connections.
type Helper struct {
	Name  string   `json:"name"`
	Ports []uint16 `json:"ports"`
}

// Assignment is one transport protocol and port of a helper.
type Assignment struct {
	Kernel   string // the kernel's name of the helper; "" for a helper of masqd
	Protocol string // "tcp" or "udp", for the control connection
	Port     uint16 // assigned to the protocol
	IPv4Only bool
}

// HelperKind describes a conntrack helper of Linux, or a helper of masqd. The source for Linux
// are the calls of nf_ct_helper_init in net/netfilter/nf_conntrack_*.c and
// net/ipv4/netfilter/nf_nat_*.c of Linux 6.18.
type HelperKind struct {
	Name   string
	Module string // the kernel module
	NAT    string // the module that translates the payload; "" for none
	// Daemon says that masqd handles the protocol, and not the kernel. Module and NAT are
	// empty.
	Daemon bool
	Assign []Assignment
}

// HelperKinds lists the helpers by their names in a configuration, in alphabetical order.
// snmp_trap (udp 162) is not listed: it is part of nf_nat_snmp_basic.
var HelperKinds = []HelperKind{
	kernelHelper("amanda", "nf_conntrack_amanda", "nf_nat_amanda", Assignment{"amanda", "udp", 10080, false}),
	kernelHelper("ftp", "nf_conntrack_ftp", "nf_nat_ftp", Assignment{"ftp", "tcp", 21, false}),
	// H.323 is two protocols: registration over UDP, call signalling over TCP.
	kernelHelper("h323", "nf_conntrack_h323", "nf_nat_h323", Assignment{"Q.931", "tcp", 1720, false}, Assignment{"RAS", "udp", 1719, false}),
	kernelHelper("irc", "nf_conntrack_irc", "nf_nat_irc", Assignment{"irc", "tcp", 6667, true}),
	kernelHelper("netbios-ns", "nf_conntrack_netbios_ns", "", Assignment{"netbios-ns", "udp", 137, true}),
	// A connection to a port of pna or rtsp is read as what it begins with: RealPlayer uses
	// port 7070 for both protocols.
	daemonHelper(PNA, Assignment{"", "tcp", 7070, false}),
	kernelHelper("pptp", "nf_conntrack_pptp", "nf_nat_pptp", Assignment{"pptp", "tcp", 1723, true}),
	daemonHelper(RTSP, Assignment{"", "tcp", 554, false}),
	kernelHelper("sane", "nf_conntrack_sane", "", Assignment{"sane", "tcp", 6566, false}),
	kernelHelper("sip", "nf_conntrack_sip", "nf_nat_sip", Assignment{"sip", "udp", 5060, false}, Assignment{"sip", "tcp", 5060, false}),
	kernelHelper("snmp", "nf_conntrack_snmp", "nf_nat_snmp_basic", Assignment{"snmp", "udp", 161, true}),
	// Port 518 is assigned to ntalk, and port 517 to talk, which is older. Both protocols
	// carry IPv4 addresses only.
	daemonHelper(Talk, Assignment{"", "udp", 518, true}, Assignment{"", "udp", 517, true}),
	kernelHelper("tftp", "nf_conntrack_tftp", "nf_nat_tftp", Assignment{"tftp", "udp", 69, false}),
}

// The names of masqd's helpers.
const (
	PNA  = "pna"
	RTSP = "rtsp"
	Talk = "talk"
)

func kernelHelper(name, module, nat string, all ...Assignment) HelperKind {
	return HelperKind{Name: name, Module: module, NAT: nat, Assign: all}
}

func daemonHelper(name string, all ...Assignment) HelperKind {
	return HelperKind{Name: name, Daemon: true, Assign: all}
}

// KernelHelperKinds returns the helpers of HelperKinds that are conntrack helpers of Linux.
func KernelHelperKinds() []HelperKind { return helperKinds(false) }

// DaemonHelperKinds returns the helpers of HelperKinds that masqd handles.
func DaemonHelperKinds() []HelperKind { return helperKinds(true) }

func helperKinds(daemon bool) []HelperKind {
	return slices.DeleteFunc(slices.Clone(HelperKinds), func(k HelperKind) bool { return k.Daemon != daemon })
}

// HelperNames returns the names of HelperKinds.
func HelperNames() []string {
	var out []string
	for _, k := range HelperKinds {
		out = append(out, k.Name)
	}
	return out
}

// Protocols returns the transport protocols of the control connections: "tcp", "udp".
func (k HelperKind) Protocols() []string {
	var out []string
	for _, a := range k.Assign {
		if !slices.Contains(out, a.Protocol) {
			out = append(out, a.Protocol)
		}
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

// KernelHelpers returns the policy's conntrack helpers of Linux.
func (p Policy) KernelHelpers() []Helper { return p.helpers(false) }

// DaemonHelpers returns the policy's helpers that masqd handles.
func (p Policy) DaemonHelpers() []Helper { return p.helpers(true) }

func (p Policy) helpers(daemon bool) []Helper {
	var out []Helper
	for _, h := range p.Helpers {
		if k, ok := HelperKindOf(h.Name); ok && k.Daemon == daemon {
			out = append(out, h)
		}
	}
	return out
}
