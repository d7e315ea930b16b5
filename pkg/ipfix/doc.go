// Package ipfix sends the records of the NAT log to a collector: IPFIX (RFC 7011) with the
// information elements for NAT events (RFC 8158), over UDP or TCP.
//
//	collector, err := ipfix.ParseCollector("192.0.2.9:4739")
//	x, err := ipfix.Open(ctx, ipfix.Options{Collector: collector, Log: log})
//	err = x.Append(&natlog.Record{Time: now, Kind: natlog.Begin, Proto: 6, Original: ..., Translated: ...})
//
// # Data records
//
// The begin and the end of a flow are one data record each:
//
//	IPv4  IPv6
//	323   323   observationTimeMilliseconds    time of the begin or end
//	230   230   natEvent                       4 and 5: NAT44 session create and delete; 1 and 2 for IPv6
//	4     4     protocolIdentifier
//	8     27    source...Address               source of the original packet
//	225   281   postNATSource...Address        egress address
//	12    28    destination...Address
//	226   282   postNATDestination...Address
//	7     7     sourceTransportPort            for ICMP, the identifier
//	227   227   postNAPTSourceTransportPort
//	11    11    destinationTransportPort
//	228   228   postNAPTDestinationTransportPort
//	32    139   icmpTypeCode...                0 for other protocols
//	231   231   initiatorOctets                this and the next four: ends only
//	232   232   responderOctets
//	298   298   initiatorPackets
//	299   299   responderPackets
//	161   161   flowDurationMilliseconds       0 if unknown
//	464   464   internalAddressRealm           network
//	350   350   virtualStationName             namespace/name of the pod
//	348   348   virtualStationInterfaceName    interface in the container
//	349   349   virtualStationUUID             container ID
//
// The templates are 256 to 259: begin and end for IPv4, begin and end for IPv6. RFC 8158 has
// no event for a translation from IPv6 to IPv6. The values 1 and 2 mean "NAT translation
// create" and "delete" for any family. The observation domain is 1.
//
// # Lost records
//
// Append never blocks on the network. Records wait in a queue of QueueBytes, also while the
// collector is unreachable. If the queue is full, a record is dropped and counted. A
// natlog.Gap adds its lost records to that count. The collector receives the count in a
// record of options template 260 (RFC 7011, 4.3, "Exporting Process Reliability
// Statistics"). It is sent soon after the count has changed. It is also sent with the next
// record if TemplateInterval has passed:
//
//	144   exportingProcessId             scope: time when the exporter was opened, in seconds
//	42    exportedFlowRecordTotalCount   records sent since then
//	166   notSentFlowTotalCount          records lost since then
//	152   flowStartMilliseconds          time of the first lost record
//	153   flowEndMilliseconds            time of the last lost record; both are 0 if none is
//
// notSentPacketTotalCount and notSentOctetTotalCount are omitted, because packets and bytes
// of lost events are unknown.
//
// A collector detects records that the network lost by the sequence numbers of messages. Over
// UDP the exporter does not know whether records arrive. If the collector's host answers that
// the port is closed, records wait until it is open again, and records that were sent in the
// last 100 ms count as lost. If a TCP connection breaks, records that the collector's kernel
// had not acknowledged count as lost. Records are not counted as lost if the collector's
// kernel received them and the collector ended before it read them.
//
// # Templates
//
// Templates are sent first in each session, which is a TCP connection or a UDP socket. Over
// UDP they are sent again with the next record if TemplateInterval has passed, so that a
// restarted collector can decode records. They are never withdrawn.
//
// A message over UDP is no larger than the path MTU, as far as the kernel knows it, and no
// larger than 1400 bytes.
//
// # To debug
//
// Stats counts queued, sent and lost records. `tshark -d udp.port==4739,cflow -V` decodes the
// messages on the wire.
package ipfix
