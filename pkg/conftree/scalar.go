package conftree

import (
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// WrongType adds the fault that a value has the wrong type.
func (r *Reader) WrongType(key string, v Value, remedy string) {
	r.Fault(v.Place, key, v.Show(), v.Kind.wrongType(), remedy)
}

// Boolean reads a boolean.
func (r *Reader) Boolean(key string, v Value) (b, ok bool) {
	if b, ok = v.Bool(); !ok {
		r.WrongType(key, v, "give true or false, or remove the key")
	}
	return b, ok
}

// Text reads a string.
func (r *Reader) Text(key string, v Value, remedy string) (string, bool) {
	if v.Kind != String {
		r.WrongType(key, v, remedy)
	}
	return v.Text, v.Kind == String
}

// PortRanges reads the source ports of a policy.
func (r *Reader) PortRanges(key string, v Value) ([]masq.PortRange, bool) {
	text, ok := r.Text(key, v, masq.PortsRemedy)
	if !ok {
		return nil, false
	}
	ranges, wrong := masq.ParseToPorts(text)
	for _, bad := range wrong {
		r.Fault(v.Place, key, v.Show(), "is not valid: "+bad.Wrong, bad.Remedy)
	}
	return ranges, len(wrong) == 0
}

// Clamp reads the limit of TCP's maximum segment size.
func (r *Reader) Clamp(key string, v Value) (masq.Clamp, bool) {
	remedy := fmt.Sprintf("give \"pmtu\", \"off\" or %d-%d", masq.ClampMin, masq.ClampMax)
	switch v.Kind {
	case String:
		switch v.Text {
		case "pmtu":
			return masq.ClampPMTU, true
		case "off":
			return masq.ClampOff, true
		}
		r.Fault(v.Place, key, v.Show(), "is neither \"pmtu\" nor \"off\"", remedy)
	case Number:
		if c, ok := clampTo(v); ok {
			return c, true
		}
		r.Fault(v.Place, key, v.Show(), notBytes, remedy)
	default:
		r.WrongType(key, v, remedy)
	}
	return masq.Clamp{}, false
}

var notBytes = fmt.Sprintf("is not a number of bytes within %d-%d", masq.ClampMin, masq.ClampMax)

// clampTo reads a number of bytes.
func clampTo(v Value) (masq.Clamp, bool) {
	n, ok := v.Whole()
	c, err := masq.ClampTo(n)
	return c, ok && err == nil
}
