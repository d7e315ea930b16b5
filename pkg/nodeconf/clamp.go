package nodeconf

import (
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// mssClamp reads what becomes of the maximum segment size.
func (r *reader) mssClamp(k key, v value) {
	mend := fmt.Sprintf("give \"pmtu\", \"off\" or %d-%d", masq.ClampMin, masq.ClampMax)
	var c masq.Clamp
	switch v.kind {
	case isString:
		switch v.text {
		case "pmtu":
			c = masq.ClampPMTU
		case "off":
			c = masq.ClampOff
		default:
			r.fault(v.place, k.name, v.show(), "is neither \"pmtu\" nor \"off\"", mend)
			return
		}
	case isNumber:
		n, ok := v.whole()
		to, err := masq.ClampTo(n)
		if !ok || err != nil {
			r.fault(v.place, k.name, v.show(), fmt.Sprintf("is not a number of bytes within %d-%d", masq.ClampMin, masq.ClampMax), mend)
			return
		}
		c = to
	default:
		r.wrongType(k.name, v, mend)
		return
	}
	once(r, k.name, &r.s.clamp, found[masq.Clamp]{v.place, c, v.show()}, func(a, b masq.Clamp) bool { return a == b })
}
