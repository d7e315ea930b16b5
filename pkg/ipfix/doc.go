// Package ipfix sends the events of the NAT log to a collector: IPFIX (RFC 7011) with
// the information elements for NAT events (RFC 8158), over UDP or TCP.
//
//	collector, err := ipfix.ParseCollector("192.0.2.9:4739")
//	x, err := ipfix.Open(ctx, ipfix.Options{Collector: collector, Log: log})
//	err = x.Append(&ipfix.Event{Time: now, Proto: 6, Original: ..., Translated: ...})
//
// # What is sent
//
// Each begin and each end of a flow is a data record of its own, whole in itself:
//
//	IPv4  IPv6
//	323   323   observationTimeMilliseconds    when it began, or ended
//	230   230   natEvent                       4 and 5: NAT44 session create and delete; 1 and 2 of IPv6
//	4     4     protocolIdentifier
//	8     27    source...Address               of the original packet
//	225   281   postNATSource...Address        the egress address
//	12    28    destination...Address
//	226   282   postNATDestination...Address
//	7     7     sourceTransportPort            the identifier of ICMP
//	227   227   postNAPTSourceTransportPort
//	11    11    destinationTransportPort
//	228   228   postNAPTDestinationTransportPort
//	32    139   icmpTypeCode...                0 of other protocols
//	231   231   initiatorOctets                of ends only, as the following
//	232   232   responderOctets
//	298   298   initiatorPackets
//	299   299   responderPackets
//	161   161   flowDurationMilliseconds       0 where nobody knows
//	464   464   internalAddressRealm           the network
//	350   350   virtualStationName             namespace/name of the pod
//	348   348   virtualStationInterfaceName    the interface in the container
//	349   349   virtualStationUUID             the container ID
//
// The templates are 256 to 259: begin and end of IPv4, begin and end of IPv6. RFC 8158
// has no event for a translation from IPv6 to IPv6; 1 and 2 say "NAT translation create"
// and "delete", of any. The observation domain is 1.
//
// # What is lost, and how that is seen
//
// Append never waits for the network. Records wait in a queue of QueueBytes, also while
// the collector is gone. What there is no room for is counted, and so is what a caller
// says it has lost itself (Lose). Options template 260 tells the collector, as soon as
// there is something new to tell, and at least each TemplateInterval with the next
// record (RFC 7011, 4.3, "Exporting Process Reliability Statistics"):
//
//	144   exportingProcessId             scope: when the exporter was opened, in seconds
//	42    exportedFlowRecordTotalCount   records that were sent since its start
//	166   notSentFlowTotalCount          and those that were not
//	152   flowStartMilliseconds          when the first was lost
//	153   flowEndMilliseconds            and the last; both 0 where none was
//
// notSentPacketTotalCount and notSentOctetTotalCount are missing: nobody knows the
// packets and bytes of events that the kernel had no room for.
//
// Sequence numbers let a collector see what is lost on the way. UDP has no more: who
// does not answer is taken to listen. Where the collector's host says that nobody does,
// records are kept until somebody does again; those of the last tenth of a second count
// as lost. A TCP connection that breaks takes with it what the collector's kernel had
// not acknowledged; that counts as lost too. What a collector had been sent and had not
// read when it died is beyond anybody's knowledge.
//
// # Templates
//
// They are sent first in each session: a connection of TCP, or a socket of UDP. Over UDP
// they are sent again before a record when TemplateInterval has passed, so that a
// collector that was started anew understands what comes. They are never withdrawn.
//
// A message over UDP is no larger than the path allows, as far as the kernel knows, and
// never larger than 1400 bytes.
//
// # To debug
//
// Stats tells what became of the records. `tshark -d udp.port==4739,cflow -V` decodes
// what is on the wire.
package ipfix
