// Package flowlog writes the NAT log: which attachment was behind an address and a port.
//
// A Logger receives conntrack's events and adds a record for the beginning and the end of
// each translated flow of an attachment or of sourceCIDRs. DirectFlows selects the
// untranslated flows that are logged too. The records go to a natlog.Writer on disk, to an
// ipfix.Exporter, or to both.
//
// The kernel drops events when the socket buffer is full. The log then has a record of
// kind Gap with the number of lost events.
//
// To debug: `conntrack -E` shows the events, `cat /proc/net/netlink` the drops of each
// socket, and masqd's log has a warning with the number of lost events.
package flowlog
