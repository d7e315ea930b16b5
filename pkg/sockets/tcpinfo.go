package sockets

import (
	"encoding/binary"
	"time"
)

// TCPInfo has measurements of the kernel for a connection: fields of struct tcp_info of
// uapi/linux/tcp.h. Fields that the kernel does not have are 0.
type TCPInfo struct {
	// Retransmits is the number of times that the first segment without an acknowledgement
	// was sent again since the last progress.
	Retransmits uint8
	// Backoff is the number of times that RTO was doubled.
	Backoff uint8
	RTO     time.Duration // time until the next retransmission
	// SndMSS is the size in bytes of full segments that are sent, and RcvMSS an estimate for
	// segments that were received: at first at most 536, then the size of the largest.
	SndMSS, RcvMSS uint32
	AdvMSS         uint32 // the MSS that was announced to the peer
	PMTU           uint32 // the MTU of the path, as far as known
	// Unacked is the number of segments without an acknowledgement. Sacked is the number of
	// them that arrived after a gap, and Lost the number that the kernel considers lost.
	Unacked, Sacked, Lost uint32
	// The times since the last events. Data is data that arrived in order.
	LastDataSent, LastDataRecv, LastAckRecv time.Duration
	TotalRetrans                            uint32
	// BytesAcked counts the SYN too.
	BytesAcked, BytesReceived uint64
	SegsOut, SegsIn           uint32
	DataSegsIn, DataSegsOut   uint32
	// Delivered is the number of segments that were acknowledged.
	Delivered uint32
	// RcvOOO is the number of segments that arrived after a gap.
	RcvOOO uint32
}

// tcpInfoLen is the offset of the end of the last field that is read, tcpi_rcv_ooopack. Requires Linux 5.4;
// an older kernel has a shorter struct.
const tcpInfoLen = 228

// read reads a struct tcp_info of any length.
func (t *TCPInfo) read(b []byte) {
	var whole [tcpInfoLen]byte
	copy(whole[:], b)
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(whole[at:]) }
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(whole[at:]) }
	ms := func(at int) time.Duration { return time.Duration(u32(at)) * time.Millisecond }
	*t = TCPInfo{
		Retransmits: whole[2], Backoff: whole[4],
		RTO:    time.Duration(u32(8)) * time.Microsecond,
		SndMSS: u32(16), RcvMSS: u32(20),
		Unacked: u32(24), Sacked: u32(28), Lost: u32(32),
		LastDataSent: ms(44), LastDataRecv: ms(52), LastAckRecv: ms(56),
		PMTU: u32(60), AdvMSS: u32(84), TotalRetrans: u32(100),
		BytesAcked: u64(120), BytesReceived: u64(128),
		SegsOut: u32(136), SegsIn: u32(140), DataSegsIn: u32(152), DataSegsOut: u32(156),
		Delivered: u32(192), RcvOOO: u32(224),
	}
}
