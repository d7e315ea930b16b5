package portpool

import (
	"testing"
	"time"
)

// TestLevels goes up and down: what falls only a little stays.
func TestLevels(t *testing.T) {
	was := Calm
	for i, tt := range []struct {
		share float64
		left  time.Duration
		want  Level
	}{
		{0, Never, Calm},
		{0.69, Never, Calm},
		{0.70, Never, Notice},
		{0.66, Never, Notice},
		{0.64, Never, Calm},
		{0.84, Never, Notice},
		{0.85, Never, Warning},
		{0.95, Never, Critical},
		{0.91, Never, Critical},
		{0.89, Never, Warning},
		{0.81, Never, Warning},
		{0.79, Never, Notice},
		{1, 0, Critical},
		{0.2, Never, Calm},
		{0.97, Never, Critical},
		{0.49, Soon, Calm},
		{0.50, Soon + 1, Calm},
		{0.50, Soon, Warning},
		{0.50, Never, Calm},
	} {
		if was = level(was, tt.share, tt.left); was != tt.want {
			t.Fatalf("%d: %v at %v with %v left, want %v", i, was, tt.share, tt.left, tt.want)
		}
	}
}
