package who

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// moments are the layouts of --at, with the end of the period that each means.
var moments = []struct {
	layout string
	end    func(time.Time) time.Time
	today  bool // the layout has no date
}{
	{"2006-01-02 15:04:05", second, false},
	{"2006-01-02T15:04:05", second, false},
	{"2006-01-02 15:04", minute, false},
	{"2006-01-02T15:04", minute, false},
	{"2006-01-02", day, false},
	{"15:04:05", second, true},
	{"15:04", minute, true},
}

func second(t time.Time) time.Time { return t.Add(time.Second) }
func minute(t time.Time) time.Time { return t.Add(time.Minute) }

// day returns the next midnight: a day may have 23 or 25 hours.
func day(t time.Time) time.Time { return t.AddDate(0, 0, 1) }

// parseMoment parses a time, a day, or a duration before now. It returns the first and the
// last millisecond that the text may mean: the log keeps milliseconds. A time without a
// zone is local.
func parseMoment(text string, now time.Time) (from, until time.Time, err error) {
	const tick = time.Millisecond
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		if at.Nanosecond() != 0 {
			return at, at.Add(tick), nil
		}
		return at, at.Add(time.Second - tick), nil
	}
	if text == "now" {
		return now, now.Add(time.Second), nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		at := now.Add(-ago)
		return at, at.Add(time.Second), nil
	}
	if from, until, ok := parseEpoch(text); ok {
		return from, until.Add(-tick), nil
	}
	for _, m := range moments {
		at, err := time.ParseInLocation(m.layout, text, now.Location())
		if err != nil {
			continue
		}
		if m.today {
			y, month, d := now.Date()
			at = at.AddDate(y-at.Year(), int(month-at.Month()), d-at.Day())
		}
		return at, m.end(at).Add(-tick), nil
	}
	return from, until, fmt.Errorf("--at: %s is not a time; give 2026-03-01T15:04:05Z, \"2026-03-01 15:04\", 15:04, 2026-03-01 (that day), "+
		"1772377445 (seconds since 1970), 10m (ten minutes ago), or now", masq.Quote(text))
}

// parseEpoch parses seconds or milliseconds since 1970, as date +%s and date +%s%3N print
// them, with or without a leading @.
func parseEpoch(text string) (from, until time.Time, ok bool) {
	const seconds, milliseconds = 10, 13 // digits, for the years 2001 to 2286
	digits := strings.TrimPrefix(text, "@")
	n, err := strconv.ParseUint(digits, 10, 62)
	switch {
	case err != nil:
		return from, until, false
	case len(digits) == seconds:
		from = time.Unix(int64(n), 0)
		return from, from.Add(time.Second), true
	case len(digits) == milliseconds:
		from = time.UnixMilli(int64(n))
		return from, from.Add(2 * time.Millisecond), true
	}
	return from, until, false
}
