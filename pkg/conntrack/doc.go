// Package conntrack reads the kernel's connection tracking table, watches it, and
// creates and deletes entries. It sends ctnetlink messages through package netlink and runs no
// program.
//
//	c, err := conntrack.Open() // the network namespace of this thread
//	defer c.Close()
//	pod := netip.MustParseAddr("10.88.0.2")
//	for f, err := range c.Dump(ctx, conntrack.Filter{Original: conntrack.Tuple{Src: pod}}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(f.Original, "leaves as", f.Egress())
//	}
//
// # Flows
//
// A Flow is one entry of the table. Its original Tuple has the addresses and ports of its
// first packet, its reply Tuple the addresses and ports of replies. If the source is translated, the
// destination of the reply tuple is the egress address and port. Status has the kernel's
// decisions. Fields says which optional fields the kernel sent: counters and times require
// net.netfilter.nf_conntrack_acct and nf_conntrack_timestamp, and flows that began after
// these were set.
//
// # Memory and speed
//
// A dump is read into one buffer of 32 KiB, the largest part that the kernel sends, and
// decoded in place into one reused Flow. Nothing is allocated for a flow. A Flow has no
// references: copy it to keep it.
//
// The kernel does not copy flows that it filters. So a few flows among many are found about
// eight times faster than by reading all. This package filters what the kernel cannot, with
// the same result:
//
//	filter                          in the kernel
//	Family                          yes
//	Status                          since Linux 5.15
//	Mark                            yes
//	Zone                            since Linux 6.8
//	Src, Dst of IPv4                since Linux 5.8
//	Src, Dst of IPv6                no: the kernel inverts the comparison
//	Proto                           since Linux 5.8
//	ports of TCP and UDP            since Linux 5.8, with Proto
//	other ports, ICMP, tuple zones  no
//
// Create makes a translated flow before its first packet, so that the other end can begin it.
//
// Get finds one flow by either of its tuples without a dump, in microseconds.
//
// # Errors
//
// errors.Is finds the errors of the kernel: unix.EPERM without CAP_NET_ADMIN in the user
// namespace that owns the network namespace, unix.EINVAL if the kernel has no ctnetlink. An
// error ends an iterator. The table changes while it is dumped: see Conn.Dump.
//
// # Limits
//
// The kernel tracks connections of a namespace only while a rule there needs it, such as one
// with `ct` or `masquerade`. Flows that begin before that are translated once the rules
// exist.
//
// # Debugging
//
//	conntrack -L -o extended,id         # Dump, with the same IDs
//	conntrack -S; conntrack -C          # Statistics, Table
//	conntrack -L expect; conntrack -E   # Expectations, Watch
//	strace -e trace=network,write       # the messages
//
// Requires Linux 5.15.
package conntrack
