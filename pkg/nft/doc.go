// Package nft puts a ruleset into the kernel, reads it back and compares the two.
//
// It sends nf_tables messages through package netlink. The expressions of a rule are
// encoded by google/nftables; reading goes by raw attributes, because a library
// that decodes what it knows hides what it does not, and a hidden expression is
// drift that nobody sees.
//
// Each change is one transaction: it happens wholly or not at all, and no packet
// sees the middle. Where a change was planned from what was read, the transaction
// carries the generation that it was read at, and is planned anew when somebody
// else was faster.
//
// To debug: `nft list table inet masq` shows the table, each rule with its ID as
// comment; `nft monitor` shows each transaction.
//
// Requires Linux 5.15.
package nft
