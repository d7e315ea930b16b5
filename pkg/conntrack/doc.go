// Package conntrack reads the kernel's connection tracking table, watches it, and
// deletes from it. It sends ctnetlink messages through package netlink and runs no
// program.
//
//	c, err := conntrack.Open() // of the thread's network namespace
//	defer c.Close()
//	pod := netip.MustParseAddr("10.88.0.2")
//	for f, err := range c.Dump(ctx, conntrack.Filter{Original: conntrack.Tuple{Src: pod}}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(f.Original, "leaves as", f.Egress())
//	}
//
// # What a flow is
//
// A Flow is one entry: its original Tuple is what its first packet looked like to
// the node, its reply Tuple is what answers look like. Where the source is
// translated, the destination of the reply tuple is the egress address and port:
// what the far end sees. Status says what the kernel has decided, Fields what it
// told at all: counters and times only with net.netfilter.nf_conntrack_acct and
// nf_conntrack_timestamp, for flows that begin after they are set.
//
// # Memory and speed
//
// A dump is read through one buffer of 32 KiB, the most that the kernel puts into a
// part, and decoded in place into one Flow that is used again. Nothing is allocated
// for a flow. A Flow refers to nothing outside itself: copy it to keep it.
//
// What a Filter leaves out in the kernel is not copied, which makes finding a few
// flows among many about eight times faster than reading all; what the kernel
// cannot leave out is left out here, with the same result:
//
//	filter                          in the kernel
//	Family                          yes
//	Status                          since Linux 5.15
//	Mark                            yes
//	Zone                            since Linux 6.8
//	Src, Dst of IPv4                since Linux 5.8
//	Src, Dst of IPv6                no: the kernel sends all but those asked for
//	Proto                           since Linux 5.8
//	ports of TCP and UDP            since Linux 5.8, with Proto
//	other ports, ICMP, tuple zones  no
//
// Get finds one flow by either of its tuples without a dump, in microseconds.
//
// # What can go wrong
//
// All errors of the kernel are there for errors.Is: unix.EPERM without
// CAP_NET_ADMIN in the user namespace that owns the network namespace, unix.EINVAL
// where the kernel has no ctnetlink. An error is the last thing that an iterator
// gives. The table goes on changing while it is dumped; Dump says what that means.
//
// Entries appear only while something in the namespace asks for them, such as a
// rule with `ct` or `masquerade`: in a namespace without, nothing is tracked, and
// flows that begin then are translated as soon as rules are there.
//
// # To debug
//
// `conntrack -L -o extended,id` shows what Dump reads, with the same IDs,
// `conntrack -S` and `conntrack -C` what Statistics and Table do, `conntrack -L
// expect` the expectations, `conntrack -E` what Watch hears. `strace -e
// trace=network,write` shows the messages.
//
// Requires Linux 5.15.
package conntrack
