// Package portpool tells how near a node is to having no source port left, for whom,
// and when: before connections begin to fail without a word.
//
//	m := portpool.NewMonitor(portpool.Options{Groups: 20, ReusesClosed: portpool.ReusesClosed()})
//	pools := portpool.PoolsOf(attachments, nil, masq.Default())
//	s, err := m.Sample(ctx, time.Now(), conn, pools) // again and again, for rates
//	...
//	for _, g := range s.Groups {
//		fmt.Println(g.Protocol, g.Egress, g.Destination, g.Port, g.Used, "of", g.Usable, g.Level)
//	}
//
// # What runs out
//
// Answers find the way back to a container by their addresses, ports and protocol
// alone. So all flows of one protocol that leave with one egress address to one
// destination address and port, a Group, need different source ports. To another
// destination each port is free again: it is one server that many containers talk
// to, or one container without end, that uses a group up.
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
// That toPorts does not hold for ports below 1024, and not for ICMP, is the doing of
// package ruleset. Ports that programs of the node listen on, or that it publishes,
// are not spared by the kernel and count as usable; the node's own connections to the
// same destination do take ports, and count as used. Without randomFully the kernel
// keeps the source port where it is free, within the range; what is usable is the
// same.
//
// Where a policy has several ranges, each new flow draws one of them and fails where
// that one is full. They are drawn by their sizes, so they fill alike, and Usable is
// all of them together.
//
// Groups of other protocols are not here. The kernel chooses nothing for GRE without
// the PPTP helper, for ESP and the like: one flow to each far end is all there can be.
//
// # How near is too near
//
// Of a range of up to 128 ports the kernel tries each. Of a larger one it tries 128
// in a row from a random one, then 64, 32, 16 and 8: where the share s is in use at
// random, a connection fails with about s to the power of 248.
//
// A closed TCP flow keeps its port until it times out, after two minutes. Since Linux
// 6.5, the last 32 of each row of tries take such a port if no other is free and the new
// connection's sequence number is above the old one's, as one in two is
// (nf_nat_used_tuple_harder). So these ports count as free there: with ten ports that all
// belong to closed flows, one connection in a thousand fails.
//
// A prediction takes the rate as it is. Where flows end as fast as they begin, there
// is none; a rate that itself grows ends it sooner.
//
// # What cannot be known
//
// A flow without a free port is given one that is taken, passes all rules, counts in
// their counters, and is dropped where it would be entered (__nf_conntrack_confirm).
// That adds 1 to insert_failed and 1 to drop of conntrack's statistics for each
// packet, so a connection that tries again counts again; found counts the ports that
// were tried in vain, but those of the last 32 tries for TCP. A full table adds to
// drop alone: see Losses. All are of the whole node: the kernel says nowhere whose flow
// it was. Two containers' flows that draw the same port at the same moment count too,
// though ports are left; randomFully makes that rare.
//
// # Memory and time
//
// Each port of the fullest groups is a bit; all others are counted in 1 MiB together,
// in which a group can only look too full. Where one does look fuller than what is
// followed, the table is read once more. Nothing is allocated for a flow, which takes
// about 0.1 microseconds beyond its decoding.
//
// Figures are exact for a table that does not change while it is read.
//
// # To debug
//
// `conntrack -L -p tcp -d 192.0.2.1 --dport 443` lists the flows of a group: their
// ports are the last dport of each line. `conntrack -S` has the statistics.
package portpool
