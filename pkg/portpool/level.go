package portpool

import "time"

// Level is how near a group is to having no port left.
type Level uint8

// The levels, the mildest first.
const (
	Calm Level = iota
	Notice
	Warning
	Critical
)

// Levels are those that are worth a word.
var Levels = [...]Level{Notice, Warning, Critical}

var levelNames = [...]string{"ok", "notice", "warning", "critical"}

// String is the level in a word: "ok", "notice", "warning", "critical".
func (l Level) String() string { return levelNames[l] }

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// What makes a level. The kernel tries at most 248 of many ports (128, 64, 32, 16 and
// 8 in a row), so that at 98 % one connection in 150 finds none, at 99 % one in 12:
// Critical comes before.
const (
	NoticeShare   = 0.70
	WarningShare  = 0.85
	CriticalShare = 0.95
	// Slack is how far a share has to fall below what made a level before the level
	// falls.
	Slack = 0.05
	// Soon makes a Warning of a group that will have no port left within this time,
	// once half of them are in use.
	Soon      = 5 * time.Minute
	SoonShare = 0.50
)

var levelShares = [...]float64{0, NoticeShare, WarningShare, CriticalShare}

// level is that of a group that had another before. The remaining time is negative
// where no end is foreseen.
func level(before Level, share float64, left time.Duration) Level {
	l := Critical
	for share < levelShares[l] && (l > before || share < levelShares[l]-Slack) {
		l--
	}
	if l < Warning && left >= 0 && left <= Soon && share >= SoonShare {
		l = Warning
	}
	return l
}
