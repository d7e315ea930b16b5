// Package probe sends packets from a network namespace to one destination, and finds out how
// far they get and how large they may be.
//
// All functions work in the network namespace of the calling thread: the caller locks its
// goroutine to a thread that is in the namespace. They send packets to the address of the
// Target only.
//
//	Connect     a TCP connection, or a datagram: answered, refused (by which host), or unanswered
//	OpenRaw     a Raw, which sends single packets of any size and TTL
//	Raw.Hops    the routers on the path
//	Raw.Outward the largest packet that reaches the target (RFC 4821, RFC 8899), and the hop
//	            behind which larger packets vanish
//	MeasureInward the largest TCP segment that the target's answers may have
//	ReadCounters drops that the kernel counts in this namespace
//
// # Path MTU outward
//
// A packet of Raw is a TCP SYN with data, or a datagram to the target's port, with DF set. A
// listener answers a SYN with data by a short SYN-ACK, so the answer does not depend on the
// path back. A packet with a small TTL makes a router answer, however large the packet is. If a
// router answers to small packets only, large packets are lost before it.
//
// The kernel of the namespace must not learn from the probe: a container that has learned of
// a narrow link announces a smaller MSS for ten minutes, so that a second probe would find
// another state than the first. So packets are sent by raw sockets, and all other sockets
// have IP_PMTUDISC_INTERFACE, which makes the kernel ignore "fragmentation needed" for them
// (ip_sk_accept_pmtu in include/net/ip.h). Raw sockets require CAP_NET_RAW.
//
// # Path MTU inward
//
// A server sends segments as large as the MSS that it was offered. MeasureInward makes a request with
// a small packet, whose answer is large (the certificates of a TLS server, an HTTP page, the
// algorithms of an SSH server), and offers a smaller MSS if nothing comes.
package probe
