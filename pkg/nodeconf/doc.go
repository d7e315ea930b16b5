// Package nodeconf turns the configuration files of a node, ip-masq-agent's and
// ours, into a validated policy.
//
// A file is YAML or JSON, and every key is optional:
//
//	nonMasqueradeCIDRs: [10.0.0.0/8]   # ip-masq-agent's; absent: RFC 1918
//	cidrLimit: 64                      # ip-masq-agent's
//	masqLinkLocal: false               # ip-masq-agent's
//	masqLinkLocalIPv6: false           # ip-masq-agent's
//	resyncInterval: 60s                # ip-masq-agent's
//	masqueradeCIDRs: [10.9.0.0/16]
//	sourceCIDRs: [10.244.0.0/16]
//	snatAddresses: [192.0.2.1]
//	toPorts: 20000-29999,40000-49999
//	randomFully: true
//	mssClamp: pmtu
//	helpers: {ftp: [21]}
//	dropInvalid: true
//	allowAnnotations: [masq-cni.dev/egress]
//	acceptOtherLinks: false
//
// # What ip-masq-agent takes
//
// Its own keys are taken as it takes them, in any mixture of upper and lower
// case, with the booleans of YAML 1.1 (yes, on), with entries that come twice,
// and with null: no booleans and no limit, but an empty nonMasqueradeCIDRs. A
// file that begins with { is JSON. IPv6 prefixes need no flag, since both
// families are always masqueraded.
//
// It does not notice, and here it is a fault: a key that there is not, a key
// that comes twice, a second document, an alias, and an interval that makes it
// spin. More than 1024 prefixes are refused whatever cidrLimit says.
//
// # Several files
//
// Lists are united, booleans or-ed over the files that give them, as in Azure's
// ip-masq-agent-v2 (merge in cmd/ip-masq-agent-v2/ip-masq-agent.go). Unlike
// there, where a file without nonMasqueradeCIDRs means none, the defaults stay as
// long as no file gives that key. cidrLimit counts for its own file.
//
// What two files disagree about is reported with both places, which it is not
// there. Where one of the two values does what both ask for, or Azure's takes one
// of them, that one counts, and the other is a warning: a boolean that is true in
// one and false in another, and the shorter resyncInterval. Otherwise it is a
// fault: another toPorts, mssClamp or port of a helper, and a prefix that is in
// nonMasqueradeCIDRs of one and masqueradeCIDRs of another.
//
// # Faults
//
// All faults are reported at once, with their places, as Faults:
//
//	/etc/config/ip-masq-agent:3:5: nonMasqueradeCIDRs: "10.0.0.1/8": has bits beyond its length; write "10.0.0.0/8"
//
// Text from files is quoted and cut to size, so that a fault is one line and
// harmless on a terminal.
//
// # Limits
//
// A file has at most 1 MiB, and 64 of them are merged. Aliases are refused, so
// that a file costs what it is long.
package nodeconf
