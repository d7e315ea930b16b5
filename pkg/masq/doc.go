// Package masq is the vocabulary of masq-cni: attachments, policies and the
// values they are made of. It holds pure values and imports the standard
// library only, so that every other package can speak in its terms.
//
// An Attachment is one interface of one container on one network. A Policy says
// how its traffic leaves the node. Package ruleset turns both into nftables
// rules, package store keeps them on disk, package nft puts them into the
// kernel.
package masq
