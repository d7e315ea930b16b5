package ruleset

import "strings"

// DropReason says why a rule drops packets. Programs can rely on its words.
type DropReason string

// The reasons to drop a packet.
const (
	// DropSpoofed: the source is not an address of the attachment that sent the packet, or
	// the packet is an ICMP error about a flow of another attachment.
	DropSpoofed DropReason = "spoofed"
	// DropOtherLink: the source is an attachment's address, but the packet entered by
	// another link.
	DropOtherLink DropReason = "other-link"
	// DropLoopback: the destination is a loopback address of the node.
	DropLoopback DropReason = "loopback"
	// DropInvalid: conntrack has no flow for the packet, so it would leave untranslated.
	DropInvalid DropReason = "invalid"
	// DropExpected: a helper announced the connection for a port that is not the
	// container's.
	DropExpected DropReason = "expected"
	// DropNoPort: all ports of the policy are reserved for the node.
	DropNoPort DropReason = "no-port"
	// DropNoEgress: the node has none of the policy's egress addresses.
	DropNoEgress DropReason = "no-egress-address"
)

// DropReasons lists all reasons, in the order in which a packet meets the rules.
var DropReasons = []DropReason{DropSpoofed, DropLoopback, DropOtherLink, DropExpected, DropInvalid, DropNoPort, DropNoEgress}

// The IDs of rules that drop packets. IDs that end with a slash or a dash are prefixes.
const (
	spoofedID     = "sources/spoofed"
	loopbackID    = "sources/loopback"
	newLoopbackID = "prerouting/loopback"
	announcedID   = "announced/"
	otherLinkID   = "origin/other-link"
	followingID   = "following/"
	invalidID     = "invalid/"
	noPortID      = "policy/no-port-"
	noEgressID    = "policy/no-egress"
)

// DropReasonOf returns the reason of the rule that has an ID in a chain. It returns false
// for a rule that drops no packets.
func DropReasonOf(chain, id string) (DropReason, bool) {
	_, ofPolicy := ParsePolicyChain(chain)
	switch {
	case chain == sourcesChain && id == spoofedID, chain == relatedChain && id == relatedID:
		return DropSpoofed, true
	case chain == sourcesChain && id == loopbackID, chain == preroutingNATChain && id == newLoopbackID:
		return DropLoopback, true
	case chain == announcedChain && strings.HasPrefix(id, announcedID), chain == followingChain && strings.HasPrefix(id, followingID):
		return DropExpected, true
	case chain == originChain && strings.HasPrefix(id, otherLinkID):
		return DropOtherLink, true
	case chain == invalidChain && strings.HasPrefix(id, invalidID):
		return DropInvalid, true
	case ofPolicy && strings.HasPrefix(id, noPortID):
		return DropNoPort, true
	case ofPolicy && strings.HasPrefix(id, noEgressID):
		return DropNoEgress, true
	}
	return "", false
}
