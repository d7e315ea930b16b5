package conntrack

import "strings"

// Status is what the kernel has noted of a flow, one bit each: enum ip_conntrack_status
// in uapi/linux/netfilter/nf_conntrack_common.h.
type Status uint32

// The bits of a Status.
const (
	Expected     Status = 1 << iota // a helper announced it; Master is its control connection
	SeenReply                       // packets passed in both directions
	Assured                         // not to be dropped early when the table is full
	Confirmed                       // its first packet left the node
	SrcNAT                          // its source is translated
	DstNAT                          // its destination is translated
	SeqAdjust                       // a helper changed the length of the TCP stream
	SrcNATDone                      // source translation was decided, perhaps for none
	DstNATDone                      // destination translation was decided, perhaps for none
	Dying                           // deleted, or about to be
	FixedTimeout                    // the timeout cannot change
	Template                        // not a flow but a model of one
	NATClash                        // not tracked, or, internal to the kernel, a clash of translations
	HelperGiven                     // its helper was given by a rule or a program
	Offload                         // a flowtable forwards it
	HWOffload                       // hardware forwards it
)

var statusNames = [...]string{
	"expected", "seen-reply", "assured", "confirmed", "src-nat", "dst-nat", "seq-adjust",
	"src-nat-done", "dst-nat-done", "dying", "fixed-timeout", "template", "nat-clash",
	"helper", "offload", "hw-offload",
}

// String lists the bits that are set: "seen-reply,assured,confirmed".
func (s Status) String() string {
	var names []string
	for i, name := range statusNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}
