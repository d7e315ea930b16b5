package screen

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestReadingPace checks that a reading begins after the interval, or after a key, and not
// before pauseFactor allows.
func TestReadingPace(t *testing.T) {
	for _, tt := range []struct {
		interval, took, key int // in milliseconds; the key is pressed once; 0 for never
		want                []int
	}{
		{1000, 0, 0, []int{1000, 2000, 3000}},
		{1000, 0, 1500, []int{1000, 1500, 2500}},
		{1000, 1000, 0, []int{10000, 21000, 32000}},
		{1000, 1000, 12000, []int{10000, 21000, 32000}},
		{30000, 1000, 12000, []int{12000, 42000, 72000}},
		{30000, 1000, 1500, []int{10000, 40000, 70000}},
	} {
		synctest.Test(t, func(t *testing.T) {
			const ms = time.Millisecond
			ctx, end := context.WithCancel(t.Context())
			changes := make(chan settings, 1)
			if tt.key > 0 {
				time.AfterFunc(time.Duration(tt.key)*ms, func() { changes <- settings{order: order{column: 1}} })
			}
			x, begin := Flags{interval: time.Duration(tt.interval) * ms}, time.Now()
			took := time.Duration(tt.took) * ms
			var at []int
			x.repeat(ctx, changes, settings{}, took, func(w settings) time.Duration {
				at = append(at, int(time.Since(begin)/ms))
				if tt.key > 0 && (at[len(at)-1] >= tt.key) != (w.column == 1) {
					t.Errorf("%+v: at %d the reading sorts by column %d", tt, at, w.column)
				}
				if len(at) == len(tt.want) {
					end()
				}
				time.Sleep(took)
				return took
			})
			if !slices.Equal(at, tt.want) {
				t.Errorf("%+v: readings at %v", tt, at)
			}
		})
	}
}

// TestPause checks that no reading begins while the screen is paused.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		changes := make(chan settings, 1)
		time.AfterFunc(1500*time.Millisecond, func() { changes <- settings{paused: true} })
		time.AfterFunc(time.Hour, func() { changes <- settings{} })
		begin := time.Now()
		var at []time.Duration
		x := Flags{interval: time.Second}
		x.repeat(ctx, changes, settings{}, 0, func(settings) time.Duration {
			if at = append(at, time.Since(begin)); len(at) == 2 {
				end()
			}
			return 0
		})
		if want := []time.Duration{time.Second, time.Hour}; !slices.Equal(at, want) {
			t.Errorf("readings at %v, want %v", at, want)
		}
	})
}
