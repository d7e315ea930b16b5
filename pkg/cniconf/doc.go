// Package cniconf reads the input of the plugin masq from a container runtime, which is the
// network configuration on stdin and CNI_ARGS, and returns a validated configuration.
//
// Load is for ADD, CHECK, GC and STATUS. LoadForRemoval is for DEL, which must succeed even
// if the policy has become faulty since ADD. VERSION has no configuration.
//
// # Faults
//
// All faults are reported at once, in one *types.Error. Its Details have a line for each
// fault, in the order of the text:
//
//	line 1, column 58: mtu: 1000 is below 1280, the minimum of IPv6; give 0 (the MTU of the uplink) or 1280-65535
//	line 1, column 85: nonMasqueradeCIDRs: "10.0.0.1/8" has bits beyond its length; write "10.0.0.0/8"
//
// Line and column are positions in the text on stdin. A runtime that uses libcni writes this
// text on one line, with the keys in alphabetical order. Annotations of a pod and CNI_ARGS
// have no line and column.
//
// The code of the error is defined by the CNI specification:
//
//	1  cniVersion is not supported; no other fault is reported then
//	4  only CNI_ARGS is faulty
//	6  stdin is not a JSON object
//	7  all other faults
//
// # Strictness
//
// The keys of the plugin are strict: a wrong type is a fault, null included. An unknown key
// and a repeated key are faults too. libcni removes repeated keys, so that these appear only
// if the plugin is called without libcni. A key that CNI defines counts as absent if it is
// null. Of "ipam", only the type and the subnets of host-local are read; the IPAM plugin
// reads the rest.
//
// To debug, call the plugin with the configuration on stdin and CNI_COMMAND=STATUS.
package cniconf
