// Package conftree parses configuration text into a tree of values with positions. It
// also reads the settings that the configuration of a network (package cniconf) and the
// configuration of a node (package nodeconf) have in common.
//
// [ParseJSON] makes the tree of a JSON text. Package nodeconf makes the tree of a YAML
// text, so that the plugin does not link a YAML library. A [Value] keeps the order of
// keys, repeated keys and the spelling of numbers, which encoding/json drops.
//
// A [Reader] has one method for each type of value: Boolean, Text, Texts, Prefixes,
// EgressAddresses, Annotations, PortRanges, Clamp, MSSClamps and Helpers. It collects faults, so
// that all faults of a text are reported at once:
//
//	/etc/config/ip-masq-agent:3:5: nonMasqueradeCIDRs: "10.0.0.1/8" has bits beyond its length; write "10.0.0.0/8"
//	line 1, column 58: mtu: 1000 is below 1280, the minimum of IPv6; give 0 (the MTU of the uplink) or 1280-65535
//
// Text from outside is quoted and shortened. A fault is therefore one line and cannot
// control a terminal. At most 100 faults are kept.
package conftree
