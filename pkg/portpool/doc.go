// Package portpool counts the source ports that translated flows have in use. It forecasts
// when no port is left for a destination, and names the sources that use the most. When
// ports run out, connections fail without an error message.
//
//	m := portpool.NewMonitor(portpool.Options{Groups: 20, ReusesClosed: portpool.ReusesClosed()})
//	pools := portpool.PoolsOf(attachments, nil, masq.Default())
//	s, err := m.Sample(ctx, time.Now(), conn, pools) // repeatedly, for rates
//	...
//	for _, g := range s.Groups {
//		fmt.Println(g.Protocol, g.Egress, g.Destination, g.Port, g.Used, "of", g.Usable, g.Severity)
//	}
//
// # What is exhausted
//
// Replies find their container only by addresses, ports and protocol. So all flows of one
// protocol from one egress address to one destination address and port, a Group, need
// different source ports. Each port can be used again for another destination. A group is
// exhausted if many containers connect to one server, or if one container opens connections
// to it without end.
//
// # Which ports are usable
//
// nf_nat_l4proto_unique_tuple (net/netfilter/nf_nat_core.c) decides:
//
//	source                 without a range          with toPorts
//	port below 512         1-511                    1-511
//	port from 512 to 1023  600-1023                 600-1023
//	port from 1024 on      1024-65535               toPorts
//	ICMP                   IDs 0-65535              IDs 0-65535
//
// Package ruleset does not apply toPorts to source ports below 1024 and to ICMP. The kernel
// also chooses ports that programs of the node listen on, or that the node publishes, so
// these count as usable. Ports of the node's own connections to the same destination count
// as used. Without randomFully the kernel keeps the source port if it is free and within
// the range; the usable ports are the same.
//
// If a policy has several ranges, each new flow draws one of them, and fails if that range
// is full. The probability of a range is proportional to its size. So all ranges are about
// equally full, and Usable is the sum of their sizes.
//
// Groups of other protocols are not counted. For ESP, and for GRE without the PPTP helper,
// the kernel has no port to choose: only one flow to each destination is possible.
//
// # When connections begin to fail
//
// In a range of up to 128 ports the kernel tries each port. In a larger range it tries 128
// successive ports from a random one on, then 64, 32, 16 and 8, each time from another
// random one: 248 in total. If the share s of the ports is in use, at random, a connection
// fails with a probability of about s to the power of 248.
//
// A closed TCP flow keeps its port until it times out, after two minutes. Since Linux 6.5 a
// new connection may take the port of a closed flow, in the last 32 tries of each series
// (nf_nat_used_tuple_harder). The kernel requires that the sequence number of the new
// connection is above that of the old one, which is true for one in two. So on such kernels
// these ports count as free. If a pool has ten ports that all belong to closed flows, one
// connection in a thousand fails.
//
// A forecast assumes that the rate stays the same. If flows end as fast as they begin,
// there is no forecast. If the rate grows, the ports are exhausted earlier.
//
// # What cannot be known
//
// If no port is free, the kernel gives a flow a port that is in use. Its packet passes all
// rules, which count it, and is dropped when the kernel inserts the flow into the table
// (__nf_conntrack_confirm). Each such packet adds 1 to insert_failed and 1 to drop of
// conntrack's statistics. A connection that sends its packet again is therefore counted
// again. A full table adds only to drop: see Losses. The statistic found counts the ports
// that were tried in vain, except the last 32 tries for TCP. All these statistics are of
// the whole node: the kernel does not report the flow or its container. Two flows that draw
// the same port at the same moment are counted too, although ports are free; randomFully
// makes that rare.
//
// # Memory and time
//
// The fullest groups are tracked with one bit for each port. All other groups share a
// count-min sketch of 1 MiB, which may show too many flows, and never too few. If such a
// group seems fuller than a tracked one, the table is read a second time. Adding a flow
// allocates nothing and takes about 0.1 microseconds.
//
// Figures are exact for a table that does not change while it is read.
//
// # To debug
//
// `conntrack -L -p tcp -d 192.0.2.1 --dport 443` lists the flows of a group: their source
// ports are the last dport of each line. `conntrack -S` shows the statistics.
package portpool
