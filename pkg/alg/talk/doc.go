// Package talk reads, writes and rewrites the datagrams of the talk protocols, by which a
// user's program asks a talk daemon to call another user. There are two formats: ntalk of
// 4.3BSD (UDP port 518, <protocols/talkd.h>) and talk of 4.2BSD (UDP port 517). Both are
// for IPv4 only.
//
// # A call
//
// alice at host A calls bob at host B. Her program listens at a TCP port.
//
//	A -> B:517/518  LookUp    has bob called alice?
//	A -> B:517/518  Announce  ring bob; Addr is alice's TCP address
//	A -> A:517/518  LeaveInvite, to alice's own daemon: Addr is alice's TCP address
//	B -> A:517/518  LookUp    bob answers: has alice called?
//	A -> B          response: Addr is alice's TCP address
//	B -> A          TCP, the conversation
//	A -> B, A -> A  Delete
//
// If a NAT hides A, a proxy replaces Addr in Announce and in the response to LookUp,
// and opens that TCP port for B. It also replaces Control in each request: the daemons of
// BSD systems answer to that address. The daemon of Linux (netkit) answers to the source of
// the datagram.
//
// # Byte order
//
// Numbers of ntalk are in network byte order. talk has the byte order of the sender's CPU,
// which the address family tells: its bytes are 00 02 or 02 00. Ports and addresses are
// always in network byte order. Some programs send the family of ntalk in the byte
// order of their CPU. A rewritten message keeps that order.
//
// # Errors
//
// ErrMalformed: the format has another length, the version of ntalk is not 1, or a required
// address is not an IPv4 address.
//
// # To debug
//
//	tcpdump -X udp port 518
package talk
