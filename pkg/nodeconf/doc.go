// Package nodeconf reads the configuration files of a node, in the format of ip-masq-agent
// with further keys, and returns a validated policy.
//
// A file is YAML or JSON. Every key is optional:
//
//	nonMasqueradeCIDRs: [10.0.0.0/8]   # of ip-masq-agent; default: RFC 1918
//	cidrLimit: 64                      # of ip-masq-agent
//	masqLinkLocal: false               # of ip-masq-agent
//	masqLinkLocalIPv6: false           # of ip-masq-agent
//	resyncInterval: 60s                # of ip-masq-agent
//	masqueradeCIDRs: [10.9.0.0/16]
//	sourceCIDRs: [10.244.0.0/16]
//	snatAddresses: [192.0.2.1]
//	toPorts: 20000-29999,40000-49999
//	randomFully: true
//	mssClamp: pmtu
//	mssClamps: {198.51.100.0/24: 1220}
//	helpers: {ftp: [21]}
//	dropInvalid: true
//	allowAnnotations: [masq-cni.dev/egress]
//	acceptOtherLinks: false
//
// # Compatibility with ip-masq-agent
//
// The keys of ip-masq-agent are accepted as by ip-masq-agent: in any case, with the booleans
// of YAML 1.1 (yes, on), with repeated entries, and with null. A
// boolean or a cidrLimit of null counts as absent, and a nonMasqueradeCIDRs of null is an
// empty list. A file that begins with { is JSON. IPv6 prefixes need no flag, since both
// families are always masqueraded.
//
// ip-masq-agent ignores some errors that are faults here: an unknown key, a repeated key, a
// second document, an alias, and an interval so short that it would never sleep. More than
// 1024 prefixes are refused, whatever cidrLimit is.
//
// # Several files
//
// Lists are united. Booleans are or-ed over the files that give them, as in Azure's
// ip-masq-agent-v2 (merge in cmd/ip-masq-agent-v2/ip-masq-agent.go). There a file without
// nonMasqueradeCIDRs means an empty list; here the defaults stay until a file gives that
// key. cidrLimit applies to its own file.
//
// If two files disagree, both places are reported. It is a warning if one of the two values
// satisfies both files, or if Azure's program chooses one of them: true overrides false, and
// the shorter resyncInterval overrides the longer. Otherwise it is a fault: two values of
// toPorts, mssClamp, the MSS of a prefix or the ports of a helper, or a prefix in nonMasqueradeCIDRs of one file
// and masqueradeCIDRs of another.
//
// # Faults
//
// All faults are reported at once, as conftree.Faults with their places:
//
//	/etc/config/ip-masq-agent:3:5: nonMasqueradeCIDRs: "10.0.0.1/8" has bits beyond its length; write "10.0.0.0/8"
//
// # Limits
//
// A file has at most 1 MiB, and at most 64 files are merged. Aliases are refused, so that
// the cost of reading a file grows only with its length.
//
// To debug a file, run masq-cni config check FILE.
package nodeconf
