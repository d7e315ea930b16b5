package masq

import (
	"encoding/json"
	"fmt"
)

// Clamp says how the maximum segment size in TCP SYN packets is lowered: not at all, to the
// MTU of the route, or to a size in bytes. The zero value is "pmtu", the default.
type Clamp struct {
	off   bool
	bytes uint16
}

// The bounds of a size in bytes: Linux sends no segment below 48 (TCP_MIN_SND_MSS in
// include/net/tcp.h), and a segment of 65495 fills the largest IPv4 packet.
const (
	ClampMin = 48
	ClampMax = 65495
)

// ClampPMTU lowers the size to the MTU of the route. ClampOff does not change it.
var (
	ClampPMTU = Clamp{}
	ClampOff  = Clamp{off: true}
)

// ClampTo returns the Clamp that lowers the size to a number of bytes.
func ClampTo(bytes int) (Clamp, error) {
	if bytes < ClampMin || bytes > ClampMax {
		return Clamp{}, fmt.Errorf("%d bytes is not within %d-%d", bytes, ClampMin, ClampMax)
	}
	return Clamp{bytes: uint16(bytes)}, nil
}

// Off reports whether the size is not changed.
func (c Clamp) Off() bool { return c.off }

// Bytes returns the size in bytes, or 0 for ClampPMTU and ClampOff.
func (c Clamp) Bytes() int { return int(c.bytes) }

// String returns the value as in the configuration: pmtu, off, or a number.
func (c Clamp) String() string {
	switch {
	case c.off:
		return "off"
	case c.bytes == 0:
		return "pmtu"
	default:
		return fmt.Sprint(c.bytes)
	}
}

// MarshalJSON returns "pmtu", "off" or a number.
func (c Clamp) MarshalJSON() ([]byte, error) {
	if c.bytes != 0 {
		return json.Marshal(c.bytes)
	}
	return json.Marshal(c.String())
}

// UnmarshalJSON reads "pmtu", "off" or a whole number of bytes.
func (c *Clamp) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		switch v {
		case "pmtu":
			*c = ClampPMTU
			return nil
		case "off":
			*c = ClampOff
			return nil
		}
	case float64:
		if v == float64(int(v)) {
			n, err := ClampTo(int(v))
			if err == nil {
				*c = n
			}
			return err
		}
	}
	return fmt.Errorf("%s is neither \"pmtu\" nor \"off\" nor a whole number of bytes", b)
}
