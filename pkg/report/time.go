package report

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// Time is encoded as RFC 3339 in UTC. The zero Time is encoded as null.
type Time struct{ time.Time }

// Unix returns the Time for nanoseconds since 1970.
func Unix(nanoseconds int64) Time { return Time{time.Unix(0, nanoseconds).UTC()} }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return t.UTC().MarshalJSON()
}

// Seconds is a duration that is encoded as a number of seconds.
type Seconds time.Duration

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var n float64
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*s = Seconds(math.Round(n * float64(time.Second)))
	return nil
}
