// Package nft puts a ruleset into the kernel, reads it back, compares the two, and watches
// for changes. Package ruleset makes the ruleset.
//
// A Conn adds and removes single attachments (Add, Remove) for the plugin. For masqd it
// compares and repairs the table in parts (SyncStructure, Scan, Edit) and reports the
// transactions of other programs (Watch). Check, Structure and Drift only compare; each
// difference has a kind, a reason and an object.
//
// Each change is one transaction: it happens completely or not at all, and no packet meets
// a part of it. If a change depends on what was read, the transaction carries the
// generation of the ruleset that was read. If another program changed the ruleset since,
// the kernel refuses the transaction, and the change is planned again.
//
// The table for masqd's helpers is an Owned: the kernel deletes it when its socket closes. It
// is replaced as a whole and is not compared, as no other program can change it.
//
// The package sends nf_tables messages through package netlink. google/nftables encodes the
// expressions of rules. Answers are read as attributes: a library that decodes only the
// expressions that it knows would hide others, and a hidden expression would be a
// difference that is not found.
//
// # To debug
//
// `nft list table inet masq` and `nft list table inet masq-helpers` show the tables, each
// rule with its ID as comment; `nft monitor` shows each transaction.
//
// Requires Linux 5.15.
package nft
