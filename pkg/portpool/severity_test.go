package portpool

import (
	"testing"
	"time"
)

// TestSeverity: the severity falls only after the share has fallen by the hysteresis.
func TestSeverity(t *testing.T) {
	s := OK
	for i, tt := range []struct {
		share       float64
		exhaustedIn time.Duration
		want        Severity
	}{
		{0, Never, OK},
		{0.69, Never, OK},
		{0.70, Never, Notice},
		{0.66, Never, Notice},
		{0.64, Never, OK},
		{0.84, Never, Notice},
		{0.85, Never, Warning},
		{0.95, Never, Critical},
		{0.91, Never, Critical},
		{0.89, Never, Warning},
		{0.81, Never, Warning},
		{0.79, Never, Notice},
		{1, 0, Critical},
		{0.2, Never, OK},
		{0.97, Never, Critical},
		{0.49, WarningTime, OK},
		{0.50, WarningTime + 1, OK},
		{0.50, WarningTime, Warning},
		{0.50, Never, OK},
	} {
		if s = severityOf(s, tt.share, tt.exhaustedIn); s != tt.want {
			t.Fatalf("%d: %v at %v, exhausted in %v, want %v", i, s, tt.share, tt.exhaustedIn, tt.want)
		}
	}
}
