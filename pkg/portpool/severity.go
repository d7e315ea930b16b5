package portpool

import "time"

// Severity is how close a group is to having no free port.
type Severity uint8

// The severities, in ascending order.
const (
	OK Severity = iota
	Notice
	Warning
	Critical
)

// Severities lists the severities above OK.
var Severities = [...]Severity{Notice, Warning, Critical}

var severityNames = [...]string{"ok", "notice", "warning", "critical"}

// String returns "ok", "notice", "warning" or "critical".
func (s Severity) String() string { return severityNames[s] }

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// The thresholds of the severities. In a large pool the kernel tries at most 248 ports (128,
// 64, 32, 16 and 8 successive ones). So one connection in 150 finds no port when 98 % are in
// use, and one in 12 at 99 %. Critical is reached before that.
const (
	NoticeShare   = 0.70
	WarningShare  = 0.85
	CriticalShare = 0.95
	// hysteresis is how far a share has to fall below a threshold before the severity falls.
	hysteresis = 0.05
	// WarningTime is the time until exhaustion from which a group has Warning, if
	// WarningTimeShare of its ports are in use.
	WarningTime      = 5 * time.Minute
	WarningTimeShare = 0.50
)

var thresholds = [...]float64{OK: 0, Notice: NoticeShare, Warning: WarningShare, Critical: CriticalShare}

// severityOf returns the severity of a group, given its previous one. exhaustedIn is
// negative if no exhaustion is expected.
func severityOf(before Severity, share float64, exhaustedIn time.Duration) Severity {
	s := Critical
	for share < thresholds[s] && (s > before || share < thresholds[s]-hysteresis) {
		s--
	}
	if s < Warning && exhaustedIn >= 0 && exhaustedIn <= WarningTime && share >= WarningTimeShare {
		s = Warning
	}
	return s
}
