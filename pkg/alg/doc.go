// Package alg is the directory of application layer gateways (RFC 2663, section 2.9): readers
// of protocols that carry addresses or ports in their payload, and for which Linux has no
// conntrack helper. It has no code. The packages are:
//
//	rtsp  RTSP 1.0 and 2.0: SETUP and its answer
//	talk  talk and ntalk: requests and responses of the talk daemon
//	pna   RealAudio's PNA: the first message of a client
//
// The packages know messages only. They use no sockets, no netlink and no clock, bound what
// they store, and are fuzzed. None imports another package of this module.
package alg
