package portpool

import (
	"testing"
	"time"
)

// TestLevels goes up and down: what falls only a little stays.
func TestLevels(t *testing.T) {
	was := OK
	for i, tt := range []struct {
		share float64
		left  time.Duration
		want  Severity
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
		if was = severityOf(was, tt.share, tt.left); was != tt.want {
			t.Fatalf("%d: %v at %v with %v left, want %v", i, was, tt.share, tt.left, tt.want)
		}
	}
}
