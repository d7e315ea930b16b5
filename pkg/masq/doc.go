// Package masq defines the values that all packages share: attachments, policies, and their
// parts, with functions to parse and validate them. It imports the standard library only,
// and neither reads files nor sends requests to the kernel.
//
// An Attachment is one interface of one container on one network. A Policy says how its
// traffic leaves the node: which destinations are masqueraded, to which addresses and
// ports. Package ruleset makes nftables rules of both, package nft sends these to the
// kernel, and package store keeps attachments as records on disk.
//
// Identity is the name of an attachment in the kernel: network/containerID/interface, as
// the comment of map elements and the alias of links.
//
// # Debugging
//
// Policy.ID is the name of a policy's chain after "policy-". `masq-cni inspect -o json`
// shows attachments and policies with the JSON keys of this package.
package masq
