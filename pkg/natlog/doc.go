// Package natlog stores which container used an egress address and port, and when. It
// keeps a record of the begin and of the end of each translated flow, in compressed files
// of bounded size and age.
//
//	w, err := natlog.Open("/var/lib/masq-cni/nat-log", natlog.Options{MaxAge: 90 * 24 * time.Hour})
//	err = w.Append(&natlog.Record{Time: now, Kind: natlog.Begin, ...})
//
//	q := natlog.Query{Addr: netip.MustParseAddrPort("192.0.2.1:40312"), From: at, Until: at}
//	answer, err := natlog.Find(ctx, "/var/lib/masq-cni/nat-log", q)
//
// One process writes. Any number of processes read at the same time, without locks.
//
// # Lost records
//
// Append never blocks on disk. If the queue is full, the record is dropped and counted. A
// Gap record follows as soon as there is room: its period and the number of lost records.
// Callers append a Gap themselves for events that they lost before Append.
//
// A writer that continues a log begins with a Gap from the end of the previous writer. Its
// Lost is 0, since records of that period were not counted. A killed writer loses at most
// FlushInterval of records.
//
// A segment is synced to disk before the tail that it replaces is removed. The tail is not
// synced: after a power failure about 30 seconds of records may be missing, which the next
// writer's Gap covers.
//
// On a full disk nothing is written, and callers are not blocked: Stats has the error,
// records wait in the queue, and the writer tries again every FlushInterval. The log removes
// its oldest files to stay within its own limits. It does not remove files to free a disk
// that others filled.
//
// # How a flow is found
//
// The log has no table of open flows, so its memory does not depend on their number. The
// record of an end is complete: its Duration gives the time of the begin, and it repeats all
// other fields of the begin. So Find needs the records of begins only for flows without an
// end. It searches all blocks: a flow that was open at the given time may have begun in any
// earlier block and have ended in any later one.
//
// Egress ports are random and cannot be compressed. They are stored uncompressed, in a
// column that is searched four ports at a time. Only blocks with a match are unpacked, their
// times first. In a log of one day with 100 million records, Find takes 0.4 s for one hour
// on two cores, and 0.7 s for the whole day.
//
// Begins and ends are joined by ports, by time and, if several match, by both tuples. This
// needs the kernel's timestamps: without net.netfilter.nf_conntrack_timestamp an end has no
// Duration, and is joined with the latest begin of the same tuples. Without
// net.netfilter.nf_conntrack_acct ends have no packets and bytes.
//
// Records are in the order in which they were appended, which need not be the order of
// their times: the clock may be set. A clock segment is a part of the log in which the clock
// was not set back. A flow that spans several clock segments is found by each time that the
// clock showed while the flow was open. Options.MaxAge is measured by the monotonic clock
// while the writer runs.
//
// # Files
//
//	20260301T000000Z-0000000000000000.natlog   a segment: time of its creation, number of its first record
//	000000000003f2a1.tail                      records that are not in a segment yet
//	lock                                       held by the writer (flock)
//
// Numbers are little-endian. Times are milliseconds since 1970.
//
//	file      "masqnat\n", version 4 bytes, 0 4 bytes; blocks; a complete segment ends with an index
//	block     header 64 bytes, directory, columns
//	header    "MQNL", version 2, kind 1 (1 records, 2 index), flags 1, bytes of the block 4,
//	          bytes of the directory 4, records 4, 0 4, number of the first record 8,
//	          first time 8, last time 8, earliest begin 8, 0 4, CRC-32C of header and directory 4
//	directory for each column: uvarint bytes<<1|packed, if packed uvarint bytes on disk,
//	          CRC-32C of these bytes 4; an empty column is one byte 0
//	index     a block whose directory has for each block: offset 8, bytes 4, records 3,
//	          flags 1, number 8, first, last and earliest times 8 each; the header has the
//	          first and last time of all blocks, and the time when the index was written
//	trailer   offset of the index 8, "MQNLend\n"
//
// A block has up to 65535 records, 16384 in a segment, as columns. Each column is packed
// with zstd if that makes it smaller:
//
//	egress port          2 bytes, never packed
//	class                reference to (kind, protocol, egress address)
//	time                 number: zigzag difference to the previous record
//	age                  number: duration of an end, length of a gap
//	source port          low bytes, high bytes; or the difference to the egress port (flag 1)
//	local                reference to (attachment, address)
//	remote               reference to (destination, translated destination)
//	attachment           network, container ID, interface, pod namespace, name and UID
//	packets, bytes       numbers, both directions, of ends
//	lost                 number, of gaps
//
// A reference is 0 for the next entry of its dictionary, otherwise the index of the entry
// plus 1; low bytes and high bytes are separate columns. A number is two columns: its length
// in bits, and the bits below its highest bit, packed. A record takes about 11 bytes. Half of
// them are random ports and the low bits of counters.
//
// Small blocks waste space. Flushed records go to the tail first. When they fill a block of
// the segment, that block is written and the tail is removed. A reader opens the tail before
// the segments, and skips blocks of the tail that a segment has.
//
// A file that ends within a block was read while it was written, or its writer was killed:
// readers skip that block, and the next writer truncates the file. Every other fault is a
// FileError, which names file and block; all other blocks are read. A file of a newer version
// is ErrNewer.
//
// # To debug
//
// Stats says what the writer has done. `od -A d -t c FILE | grep 'M   Q   N   L'` lists the
// blocks. Files may be copied while they are written, and searched on another machine.
package natlog
