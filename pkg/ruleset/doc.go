// Package ruleset makes the complete nftables ruleset from attachments and their policies,
// and owns the names in it. It is pure: a ruleset is a value that can be printed, compared
// and tested without root. Package nft puts it into the kernel.
//
// The managed table is inet masq. The number of its rules follows the number of different
// policies, never the number of attachments: attachments are elements of sets and maps.
//
//	prerouting-early  filter, -450     spoofed sources
//	prerouting        filter, mangle   connections that helpers redirect; only with helpers
//	prerouting-nat    nat, mangle      first packets of flows: conntrack helpers, loopback addresses
//	forward           filter, mangle   MSS clamp; packets that conntrack calls invalid
//	postrouting       nat, srcnat - 1  source address -> policy chain -> translation
//
// The helper table, inet masq-helpers, has the same shape. It exists while masqd serves helpers:
// see HelperTable.
//
//	opened            nat, dstnat - 1  announced ports -> clients
//	prerouting        nat, dstnat + 1  control connections -> masqd
//	postrouting       nat, srcnat - 2  connections of masqd -> policy chain of the client
//
// # Names
//
// The function that parses a name is next to the function that makes it: SetName and
// ParseSetName, PolicyChain and ParsePolicyChain, HelperObject and Object.Helper, HelperKey and
// ParseHelperKey, the keys of elements and SubjectOf, the IDs of rules and RoleOf. Other packages
// use these functions, and do not parse names themselves.
//
// # To debug
//
// Each rule carries its ID as its comment. A search in this package for the comment that
// nft shows, or for its beginning, finds the line that makes the rule and the reason for
// it. The files in testdata show whole tables as nft lists them.
package ruleset
