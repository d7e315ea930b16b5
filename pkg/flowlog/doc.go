// Package flowlog writes the NAT log, which tells what attachment used an egress address
// and port at a given time.
//
// A Logger receives conntrack's events and adds a record for the beginning and the end of
// each translated flow of an attachment or of sourceCIDRs. DirectFlows selects the
// untranslated flows that are logged too. The records go to a natlog.Writer on disk, to an
// ipfix.Exporter, or to both.
//
// The kernel drops events when the socket buffer is full. The log then has a record of
// kind Gap with the number of lost events.
//
// To debug: `conntrack -E` shows the events. /proc/net/netlink has the number of drops of
// each socket. If events are lost, masqd logs a warning with their number.
package flowlog
