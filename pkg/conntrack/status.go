package conntrack

import "strings"

// Status is a set of bits: enum ip_conntrack_status of
// uapi/linux/netfilter/nf_conntrack_common.h.
type Status uint32

// The bits of a Status.
const (
	Expected     Status = 1 << iota // a helper announced it; Master is its control connection
	SeenReply                       // packets passed in both directions
	Assured                         // it is not ended early when the table is full
	Confirmed                       // its first packet left the node
	SrcNAT                          // its source is translated
	DstNAT                          // its destination is translated
	SeqAdjust                       // a helper changed the length of the TCP stream
	SrcNATDone                      // source translation was decided; it may be none
	DstNATDone                      // destination translation was decided; it may be none
	Dying                           // deleted, or about to be
	FixedTimeout                    // the timeout cannot change
	Template                        // a template for flows, not a flow
	NATClash                        // not tracked, or, internal to the kernel, a clash of translations
	HelperGiven                     // a rule or a program assigned its helper
	Offload                         // a flowtable forwards it
	HWOffload                       // hardware forwards it
)

var statusNames = [...]string{
	"expected", "seen-reply", "assured", "confirmed", "src-nat", "dst-nat", "seq-adjust",
	"src-nat-done", "dst-nat-done", "dying", "fixed-timeout", "template", "nat-clash",
	"helper", "offload", "hw-offload",
}

// String returns the names of the bits: "seen-reply,assured,confirmed".
func (s Status) String() string {
	var names []string
	for i, name := range statusNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}
