package ruleset

import "strings"

// DropReason says why a rule drops packets, as a word that programs can rely on.
type DropReason string

// Reasons to drop packets.
const (
	// DropSpoofed: the source is not an address of the attachment that sent it, or the
	// packet is an ICMP error about a flow that is not the attachment's.
	DropSpoofed DropReason = "spoofed"
	// DropOtherLink: the source is an attachment's, but it entered by another link.
	DropOtherLink DropReason = "other-link"
	// DropLoopback: the destination is a loopback address of the node.
	DropLoopback DropReason = "loopback"
	// DropInvalid: conntrack has no flow for it, so it would leave untranslated.
	DropInvalid DropReason = "invalid"
	// DropExpected: a helper announced it for a port that is not the container's.
	DropExpected DropReason = "expected"
	// DropNoPort: each port that its policy allows is reserved for the node.
	DropNoPort DropReason = "no-port"
	// DropNoEgress: the node has none of the egress addresses of its policy.
	DropNoEgress DropReason = "no-egress-address"
)

// DropReasons are all reasons, in the order in which a packet meets the rules.
var DropReasons = []DropReason{DropSpoofed, DropLoopback, DropOtherLink, DropExpected, DropInvalid, DropNoPort, DropNoEgress}

// The IDs of the rules that drop packets: a whole one, and the beginnings of others.
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

// DropReasonOf returns the reason of the rule that has an ID in a chain; false for a
// rule that drops no packets.
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
