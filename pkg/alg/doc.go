// Package alg is the directory of application layer gateways (RFC 2663, section 2.9): for
// protocols that carry addresses or ports in their payload, and for which Linux has no
// conntrack helper. It has no code. The packages are:
//
//	rtsp     RTSP 1.0 and 2.0: SETUP and its answer
//	talk     talk and ntalk: requests and responses of the talk daemon
//	pna      RealAudio's PNA: the first message of a client
//	session  control connections of these protocols, for masqd
//
// The first three know messages only: they use no sockets and no clock, and import no other
// package of this module. Package session copies connections, and knows the node only as an
// interface. None uses netlink. All bound what they store, and are fuzzed.
package alg
