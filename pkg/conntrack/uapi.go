package conntrack

import "golang.org/x/sys/unix"

// The attributes of uapi/linux/netfilter/nfnetlink_conntrack.h, which
// golang.org/x/sys lacks.
const (
	ctaTupleOrig     = 1
	ctaTupleReply    = 2
	ctaStatus        = 3
	ctaProtoinfo     = 4
	ctaHelp          = 5
	ctaNATSrc        = 6
	ctaTimeout       = 7
	ctaMark          = 8
	ctaCountersOrig  = 9
	ctaCountersReply = 10
	ctaID            = 12
	ctaTupleMaster   = 14
	ctaZone          = 18
	ctaTimestamp     = 20
	ctaMarkMask      = 21
	ctaLabels        = 22
	ctaFilter        = 25
	ctaStatusMask    = 26

	ctaTimestampEvent = 27

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaTupleZone  = 3

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum        = 1
	ctaProtoSrcPort    = 2
	ctaProtoDstPort    = 3
	ctaProtoICMPID     = 4
	ctaProtoICMPType   = 5
	ctaProtoICMPCode   = 6
	ctaProtoICMPv6ID   = 7
	ctaProtoICMPv6Type = 8
	ctaProtoICMPv6Code = 9

	ctaNATv4First = 1
	ctaNATv4Last  = 2
	ctaNATProto   = 3
	ctaNATv6First = 4
	ctaNATv6Last  = 5

	ctaNATPortFirst = 1
	ctaNATPortLast  = 2

	ctaProtoinfoTCP  = 1
	ctaProtoinfoDCCP = 2
	ctaProtoinfoSCTP = 3
	ctaProtoState    = 1 // the state comes first in all three

	ctaCountersPackets = 1
	ctaCountersBytes   = 2

	ctaTimestampStart = 1
	ctaTimestampStop  = 2

	ctaHelpName = 1

	ctaFilterOrigFlags  = 1
	ctaFilterReplyFlags = 2

	ctaStatsFound         = 2
	ctaStatsInvalid       = 4
	ctaStatsInsert        = 8
	ctaStatsInsertFailed  = 9
	ctaStatsDrop          = 10
	ctaStatsEarlyDrop     = 11
	ctaStatsError         = 12
	ctaStatsSearchRestart = 13
	ctaStatsClashResolve  = 14
	ctaStatsChainTooLong  = 15

	ctaStatsGlobalEntries    = 1
	ctaStatsGlobalMaxEntries = 2

	ctaExpectMaster   = 1
	ctaExpectTuple    = 2
	ctaExpectMask     = 3
	ctaExpectTimeout  = 4
	ctaExpectID       = 5
	ctaExpectHelpName = 6
	ctaExpectFlags    = 8
	ctaExpectClass    = 9
	ctaExpectNAT      = 10

	ctaExpectNATTuple = 2
)

// Messages: the subsystem in the upper byte, enum cntl_msg_types or
// ctnl_exp_msg_types in the lower.
const (
	msgNew = unix.NFNL_SUBSYS_CTNETLINK<<8 + iota
	msgGet
	msgDelete
	_ // msgGet that sets the counters to 0
	msgStatsCPU
	msgStats
)

const (
	msgExpectNew = unix.NFNL_SUBSYS_CTNETLINK_EXP<<8 + iota
	msgExpectGet
	msgExpectDelete
)

// The bits of CTA_FILTER, from net/netfilter/nf_internals.h. No uapi header has them.
const (
	byIPSrc   = 1 << 0
	byIPDst   = 1 << 1
	byProto   = 1 << 3
	bySrcPort = 1 << 4
	byDstPort = 1 << 5
)
