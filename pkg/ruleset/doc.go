// Package ruleset turns attachments and their policies into the complete
// nftables ruleset, as data. It is pure: the value can be printed, compared and
// tested without root. Package nft puts it into the kernel.
//
// There is one table, inet masq. The number of its rules follows the number of
// different policies, never the number of attachments: attachments are elements
// of sets and maps. Each rule carries its ID as its comment, so a search for the
// comment that nft shows leads to the line here that made the rule, with the
// reason why it is there.
//
//	prerouting-early  filter, -450     spoofed sources
//	prerouting        filter, mangle   connections that helpers redirect; only with helpers
//	prerouting-nat    nat, mangle      first packets of flows: conntrack helpers
//	forward           filter, mangle   MSS clamp; packets that conntrack calls invalid
//	postrouting       nat, srcnat - 1  source address -> policy chain -> translation
package ruleset
