// Package portpool counts the source ports that translated flows have in use, and
// forecasts when a node has none left, for which destination and because of whom. When
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
// exhausted by one server that many containers connect to, or by one container that opens
// connections without end.
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
// does not leave out ports that programs of the node listen on, or that it publishes: they
// count as usable. The node's own connections to the same destination use ports, which
// count as used. Without randomFully the kernel keeps the source port if it is free and
// within the range; the usable ports are the same.
//
// If a policy has several ranges, each new flow draws one of them, and fails if that range
// is full. The chance of a range is proportional to its size. So they fill alike, and
// Usable is the sum of all.
//
// Groups of other protocols are not counted. For ESP, and for GRE without the PPTP helper,
// the kernel chooses nothing: only one flow to each destination is possible.
//
// # How full is too full
//
// In a range of up to 128 ports the kernel tries each port. In a larger range it tries 128
// ports in a row from a random one, then 64, 32, 16 and 8. If the share s is in use at
// random, a connection fails with a probability of about s to the power of 248.
//
// A closed TCP flow keeps its port until it times out, after two minutes. Since Linux 6.5,
// the last 32 tries of each row take such a port if no other is free and the new
// connection's sequence number is above the old one's, which holds for one in two
// (nf_nat_used_tuple_harder). So these ports count as free there. With ten ports that all
// belong to closed flows, one connection in a thousand fails.
//
// A forecast assumes that the rate stays the same. If flows end as fast as they begin,
// there is no forecast. If the rate itself grows, the ports are exhausted earlier.
//
// # What cannot be known
//
// A flow without a free port gets a port in use, passes all rules, is counted by them, and
// is dropped when the kernel inserts it (__nf_conntrack_confirm). Each such packet adds 1
// to insert_failed and 1 to drop of conntrack's statistics, so a connection that tries
// again counts again. A full table adds only to drop: see Losses. found counts the ports
// that were tried in vain, except the last 32 tries for TCP. All these statistics are of
// the whole node: the kernel does not report whose flow it was. Two flows that draw the
// same port at the same moment count too, although ports are free; randomFully makes that
// rare.
//
// # Memory and time
//
// Each port of the fullest groups takes a bit. All other groups are counted in 1 MiB
// together by a count-min sketch, which never shows too few flows. If such a group seems
// fuller than a tracked one, the table is read once more. Adding a flow allocates nothing
// and takes about 0.1 microseconds.
//
// Figures are exact for a table that does not change while it is read.
//
// # To debug
//
// `conntrack -L -p tcp -d 192.0.2.1 --dport 443` lists the flows of a group: their source
// ports are the last dport of each line. `conntrack -S` shows the statistics.
package portpool
