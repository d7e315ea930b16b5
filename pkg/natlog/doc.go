// Package natlog is the NAT log: which container was behind an egress address and port
// at a time that is gone. It keeps a record of the begin and of the end of each
// translated flow, in compressed files of bounded size and age.
//
//	w, err := natlog.Open("/var/lib/masq-cni/natlog", natlog.Options{MaxAge: 90 * 24 * time.Hour})
//	err = w.Append(&natlog.Record{Time: now, Kind: natlog.Begin, ...})
//
//	q := natlog.Query{Addr: netip.MustParseAddrPort("192.0.2.1:40312"), From: at, Until: at}
//	answer, err := natlog.Who(ctx, "/var/lib/masq-cni/natlog", q)
//
// One process writes, any number read at the same time, without a word between them.
//
// # What is lost, and how that is seen
//
// Append never waits for the disk. What finds the queue full is counted, and told of by
// a Gap record as soon as there is room: from when, until when, how many. A writer that
// takes up a log begins with a gap from the end of the one before, with 0 records, since
// nobody counted them: who was killed loses what he took within FlushInterval. Callers
// append gaps of their own for what never reached them.
//
// Segments are synced before the tail that they replace is removed. The tail itself is
// not: when the machine loses its power, what the kernel had not written back is lost,
// some 30 seconds. The next writer's gap tells of it.
//
// A full disk stops the log, not its caller: Stats says so, records wait in the queue,
// and writing is tried again every FlushInterval. The log removes its own oldest files
// only for its own bounds.
//
// # How a flow is found
//
// The log keeps no table of the flows that live, so that its memory does not grow with
// them. A record of an end is whole: with its Duration it tells of a flow all that its
// begin did, so Who needs begins only of flows that have no end yet. It looks through
// the whole log for both: forwards, since a flow that lived at the time asked for may
// end at any later one, and backwards, since it may have begun at any earlier one. That
// is affordable because egress ports are random: they cannot be compressed, so they
// stand as they are, in a column that is searched four at a time, and only blocks with a
// hit are unpacked, and of those first the times. Of 100 million records of a day, an
// hour takes 0.4 s on two cores, and the whole day 0.7 s.
//
// Begins and ends are joined by port, time and, in doubt, both tuples. For that the
// kernel has to time flows: without net.netfilter.nf_conntrack_timestamp an end has no
// Duration, and is joined with the latest begin of the same tuples. Without
// net.netfilter.nf_conntrack_acct there are no packets and bytes.
//
// Times are those of records, and their order is not relied on: a clock that is set
// makes flows begin after they end, but loses none. Where it was set back, Who follows
// the order of the log: a flow was there at each time that the clock showed while it
// lived. Age, on the contrary, is counted by
// a clock that nobody sets while the writer runs.
//
// # Files
//
//	20260301T000000Z-0000000000000000.natlog   a segment: when it was begun, number of its first record
//	000000000003f2a1.tail                      records that no segment has yet
//	lock                                       held by the writer (flock)
//
// Numbers are little-endian. Times are milliseconds since 1970.
//
//	file      "masqnat\n", version 4 bytes, 0 4 bytes; blocks; in a whole segment an index
//	block     header 64 bytes, directory, columns
//	header    "MQNL", version 2, kind 1 (1 records, 2 index), flags 1, bytes of the block 4,
//	          bytes of the directory 4, records 4, 0 4, number of the first record 8,
//	          first time 8, last time 8, earliest begin 8, 0 4, CRC-32C of header and directory 4
//	directory for each column: uvarint bytes<<1|packed, if packed uvarint bytes on disk,
//	          CRC-32C of them 4; an empty column is one 0
//	index     a block whose directory has for each block: offset 8, bytes 4, records 3,
//	          flags 1, number 8, first, last and earliest times 8 each; its own times are
//	          those of all, and when it was written
//	trailer   offset of the index 8, "MQNLend\n"
//
// A block has up to 65535 records, 16384 in a segment, as columns, each packed with zstd
// where that makes it smaller:
//
//	egress port          2 bytes, never packed
//	class                reference to (kind, protocol, egress address)
//	time                 number: zigzag difference to the record before
//	age                  number: of ends the duration, of gaps the length
//	source port          low bytes, high bytes; or the difference to the egress port (flag 1)
//	local                reference to (attachment, address)
//	remote               reference to (destination, destination behind the translation)
//	attachment           network, container ID, interface, pod namespace, name and UID
//	packets, bytes       numbers, both directions, of ends
//	lost                 number, of gaps
//
// A reference is 0 for the next entry of its dictionary, otherwise the entry plus 1; low
// bytes and high bytes are columns of their own. A number is two columns: its length in
// bits, and, packed bit by bit, what is below its highest bit. Together a record takes
// about 11 bytes, half of which are random ports and the low bits of counters.
//
// Few records make small blocks, and small blocks waste space. So what is flushed goes to
// the tail first, and when there are enough records for a good block of the segment, that
// is written, and the tail removed. A reader opens the tail before the segments, and
// leaves out those of its blocks that a segment has.
//
// A file that ends within a block was being written when it was read, or its writer was
// killed: readers leave the block out, and the next writer cuts it off. Everything else
// that is not as it should be is a FileError, which names file and block; the rest is
// read all the same. A file of a newer version is ErrNewer.
//
// # To debug
//
// Stats tells what the writer does. `od -A d -t c FILE | grep 'M   Q   N   L'` shows the
// blocks. Files may be copied away while they are written, and searched elsewhere.
package natlog
