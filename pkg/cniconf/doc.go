// Package cniconf turns what a container runtime gives the plugin masq, the
// network configuration on stdin and CNI_ARGS, into a validated configuration.
//
// Load is for ADD, CHECK, GC and STATUS. LoadForRemoval is for DEL, which has to
// work although somebody has since written a fault into the policy. VERSION
// comes without a configuration.
//
// # Faults
//
// All faults are reported at once, in one *types.Error whose Details hold one a
// line, in the order of docs/configuration:
//
//	mtu: 1000: is below 1280, the least that IPv6 needs; give 0 (that of the uplink) or 1280-65535
//	nonMasqueradeCIDRs: "10.0.0.1/8": has bits beyond its length; write "10.0.0.0/8"
//
// Its code is that of the CNI specification:
//
//	1  cniVersion is none that is supported; nothing else is judged then
//	4  CNI_ARGS alone is at fault
//	6  stdin is not one JSON object
//	7  everything else
//
// Text from outside is quoted and cut to size, so that a message is one line
// and harmless on a terminal.
//
// # Strictness
//
// The plugin's own keys are strict: a wrong type, null included, is a fault.
// So is a key that neither the plugin nor CNI knows, and one that is given
// twice; libcni decodes and encodes a configuration before the plugin sees it,
// so the last shows only where the plugin is called without libcni. CNI's keys
// may be null, which is the same as absent. Of "ipam" only the type and the
// subnets of host-local are looked at; the rest is the IPAM plugin's.
package cniconf
