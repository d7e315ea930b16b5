package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchFaults(t *testing.T) {
	t.Setenv("TERM", "dumb")
	state := t.TempDir()
	for args, want := range map[string][]string{
		"pods --watch": {
			"the standard input is no terminal; run it on a terminal",
			"the standard output is no terminal", `TERM is "dumb", which cannot move its cursor`,
		},
		"flows --watch -o json --interval 1ms": {`--output "json" for a program; leave one of them out`, "--interval 1ms is below 100ms"},
		"flows --watch --sort packets":         {"--sort packets has no column that --watch could sort by; give -o wide too"},
		"flows --watch --nat x":                {`--nat "x" is not known`},
		"--watch":                              {"the standard output is no terminal"},
		"pod a --watch":                        {"the standard output is no terminal"},
		"ports --watch":                        {"the standard output is no terminal"},
		"helpers --watch":                      {"the standard output is no terminal"},
		"rules --watch -o yaml":                {`--output "yaml" for a program`},
		"drift --watch":                        {"the standard output is no terminal"},
	} {
		code, out, diag := command(t, append([]string{"inspect", "--state-dir", state}, strings.Fields(args)...)...)
		for _, s := range want {
			want := 1
			if strings.HasPrefix(args, "drift") || args == "--watch" {
				want = 2
			}
			if code != want || out != "" || !strings.Contains(diag, s) {
				t.Errorf("%s: %d without %q\n%s%s", args, code, s, out, diag)
			}
		}
	}
}

// Nobody looks before the interval is over, nor before the pace allows, even where
// a key asks for it.
func TestWatchPace(t *testing.T) {
	for _, tt := range []struct {
		interval, took, key int // in milliseconds; the key comes once, 0: never
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
			wishes := make(chan wish, 1)
			if tt.key > 0 {
				time.AfterFunc(time.Duration(tt.key)*ms, func() { wishes <- wish{order: order{column: 1}} })
			}
			x, begin := watching{interval: time.Duration(tt.interval) * ms}, time.Now()
			took := time.Duration(tt.took) * ms
			var at []int
			x.lookOn(ctx, wishes, wish{}, took, func(w wish) time.Duration {
				at = append(at, int(time.Since(begin)/ms))
				if tt.key > 0 && (at[len(at)-1] >= tt.key) != (w.column == 1) {
					t.Errorf("%+v: at %d column %d is asked for", tt, at, w.column)
				}
				if len(at) == len(tt.want) {
					end()
				}
				time.Sleep(took)
				return took
			})
			if !slices.Equal(at, tt.want) {
				t.Errorf("%+v: looked at %v", tt, at)
			}
		})
	}
}

// Nobody looks while it is paused.
func TestWatchPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		wishes := make(chan wish, 1)
		time.AfterFunc(1500*time.Millisecond, func() { wishes <- wish{paused: true} })
		time.AfterFunc(time.Hour, func() { wishes <- wish{} })
		begin := time.Now()
		var at []time.Duration
		x := watching{interval: time.Second}
		x.lookOn(ctx, wishes, wish{}, 0, func(wish) time.Duration {
			if at = append(at, time.Since(begin)); len(at) == 2 {
				end()
			}
			return 0
		})
		if want := []time.Duration{time.Second, time.Hour}; !slices.Equal(at, want) {
			t.Errorf("looked at %v, not %v", at, want)
		}
	})
}
