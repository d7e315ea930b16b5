package natlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// narrow returns records of traffic through 200 egress ports, so that each port has many
// flows. As in the kernel, no two open flows have the same translation.
func narrow(seed uint64, n int, samePort bool) []Record {
	tr := newTraffic(seed, 100)
	type translation struct {
		Tuple
		proto uint8
	}
	lives := map[translation]flowKey{}
	all := make([]Record, 0, n)
	for len(all) < n {
		var r Record
		tr.next(&r)
		p := 2000 + r.Translated.Src.Port()%200
		r.Translated.Src = netip.AddrPortFrom(r.Translated.Src.Addr(), p)
		if samePort {
			r.Original.Src = netip.AddrPortFrom(r.Original.Src.Addr(), p)
		}
		x := translation{r.Translated, r.Proto}
		who, taken := lives[x]
		switch {
		case r.Kind == Begin && !taken:
			lives[x] = keyOf(&r)
		case r.Kind == End && who == keyOf(&r):
			delete(lives, x)
		default:
			continue
		}
		all = append(all, r)
	}
	return all
}

// flowKey identifies a flow by its tuples and its begin.
type flowKey struct {
	original, translated Tuple
	began                int64
}

func keyOf(r *Record) flowKey { return flowKey{r.Original, r.Translated, r.Began().UnixMilli()} }

// model computes the answer of Find from all records.
func model(all []Record, q Query) (out []string) {
	begins := map[flowKey]bool{}
	from, until := q.window()
	match := func(r *Record, began, ended int64) {
		if r.Translated.Src != q.Addr || q.Proto != 0 && r.Proto != q.Proto || began > until || ended < from {
			return
		}
		if q.To.IsValid() && r.Original.Dst != q.To {
			return
		}
		out = append(out, shown(r.Owner, r.Original, began, ended, r.Bytes))
	}
	for i := range all {
		r := &all[i]
		if k := keyOf(r); r.Kind == Begin {
			begins[k] = true
		} else {
			delete(begins, k)
			match(r, k.began, r.Time.UnixMilli())
		}
	}
	for i := range all {
		r := &all[i]
		if r.Kind == Begin && begins[keyOf(r)] {
			match(r, r.Time.UnixMilli(), 1<<62)
		}
	}
	slices.Sort(out)
	return out
}

func shown(o Owner, original Tuple, began, ended int64, bytes [2]uint64) string {
	return fmt.Sprint(o.Name, original, began, ended, bytes)
}

func answered(t testing.TB, dir string, q Query) (out []string) {
	t.Helper()
	a := assert.Must(Find(context.Background(), dir, q))(t)
	for _, f := range a.Flows {
		end := int64(1 << 62)
		if !f.End.IsZero() {
			end = f.End.UnixMilli()
		}
		if f.Uncertain {
			t.Errorf("uncertain: %+v", f)
		}
		out = append(out, shown(f.Owner, f.Original, f.Begin.UnixMilli(), end, f.Bytes))
	}
	slices.Sort(out)
	return out
}

// queries returns n queries for periods of different lengths.
func queries(all []Record, n int) (out []Query) {
	r := rand.New(rand.NewPCG(5, 6))
	last := all[len(all)-1].Time
	for i := range n {
		x := all[r.IntN(len(all))]
		q := Query{Addr: x.Translated.Src}
		if i%2 == 0 {
			q.Proto = x.Proto
		}
		if i%5 == 0 {
			q.To = x.Original.Dst
		}
		q.From = epoch.Add(time.Duration(r.Int64N(int64(last.Sub(epoch)))))
		q.Until = q.From.Add(time.Duration(r.Int64N(int64(time.Minute)) * int64(i%3)))
		if i%7 == 0 {
			q.From = time.Time{}
		}
		if i%11 == 0 {
			q.Until = time.Time{}
		}
		out = append(out, q)
	}
	return out
}

// logged makes a log of the records, in segments and a tail. It returns its directory.
func logged(t testing.TB, all []Record) string {
	t.Helper()
	dir := t.TempDir()
	o := small
	o.MaxTotalBytes = 64 << 20
	w := openLog(t, dir, o)
	appendAll(t, w, all)
	assert.NoError(t, w.Flush())
	return dir
}

// TestFindMatchesModel compares the answers of Find and model.
func TestFindMatchesModel(t *testing.T) {
	for name, all := range map[string][]Record{
		"random ports": narrow(1, 40_000, false), "same ports": narrow(2, 40_000, true),
		// Flows that began before the first record.
		"begun earlier": narrow(3, 60_000, false)[20_000:],
	} {
		dir := logged(t, all)
		if len(files(t, dir, segmentSuffix)) < 2 || len(files(t, dir, tailSuffix)) != 1 {
			t.Fatalf("files are %v", files(t, dir, ""))
		}
		open, some := 0, 0
		for _, q := range queries(all, 60) {
			want := model(all, q)
			if got := answered(t, dir, q); !slices.Equal(got, want) {
				t.Fatalf("%s: %+v: got\n%s\nwant\n%s", name, q, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			some += len(want)
			for _, w := range want {
				if strings.Contains(w, fmt.Sprint(1<<62)) {
					open++
				}
			}
		}
		if some < 300 || open < 20 {
			t.Errorf("%s: the answers have only %d flows, of which %d are open", name, some, open)
		}
	}
}

// TestFindWithLateBegins: begins have the time when they were received, up to a second late.
func TestFindWithLateBegins(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, samePort := range []bool{false, true} {
		all := narrow(4, 20_000, samePort)
		late := slices.Clone(all)
		ended := map[flowKey]bool{}
		for i := range all {
			if all[i].Kind == End {
				ended[keyOf(&all[i])] = true
			}
		}
		for i := range late {
			if late[i].Kind == Begin && ended[keyOf(&all[i])] {
				late[i].Time = late[i].Time.Add(time.Duration(r.Int64N(int64(time.Second))))
			}
		}
		dir := logged(t, late)
		for _, q := range queries(all, 60) {
			if got, want := answered(t, dir, q), model(all, q); !slices.Equal(got, want) {
				t.Fatalf("%+v: got\n%s\nwant\n%s", q, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
}

// TestFindWithoutDurations: without durations, begins and ends are joined by their tuples.
func TestFindWithoutDurations(t *testing.T) {
	all := narrow(5, 20_000, true)
	ageless := slices.Clone(all)
	for i := range ageless {
		ageless[i].Duration = 0
	}
	dir := logged(t, ageless)
	for _, q := range queries(all, 60) {
		if got, want := answered(t, dir, q), model(all, q); !slices.Equal(got, want) {
			t.Fatalf("%+v: got\n%s\nwant\n%s", q, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestFindAfterClockStep: the clock is set by an hour while a flow is open. Find joins its
// begin and end, and reports no closed flow as open.
func TestFindAfterClockStep(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		begin := numbered(1)
		begin.Kind, begin.Duration, begin.Time = Begin, 0, epoch
		end := numbered(1)
		end.Duration = time.Minute
		end.Time = begin.Time.Add(end.Duration + step)
		open := numbered(2)
		open.Kind, open.Translated.Src, open.Time = Begin, begin.Translated.Src, end.Time.Add(time.Second)
		dir := logged(t, []Record{begin, end, open})
		a := assert.Must(Find(context.Background(), dir, Query{Addr: begin.Translated.Src}))(t)
		if len(a.Flows) != 2 {
			t.Errorf("clock set by %s: %d flows, want 2: %+v", step, len(a.Flows), a.Flows)
		}
		at := end.Time.Add(time.Minute)
		a = assert.Must(Find(context.Background(), dir, Query{Addr: begin.Translated.Src, From: at, Until: at}))(t)
		if len(a.Flows) != 1 || a.Flows[0].Original != open.Original || !a.Flows[0].End.IsZero() {
			t.Errorf("clock set by %s: a minute later: %+v", step, a.Flows)
		}
	}
}

// TestFindAcrossClockSteps: the clock is set back by an hour and ahead by two, while flows
// are open and between flows. For each time that the clock showed, Find returns the flows
// that were open then.
func TestFindAcrossClockSteps(t *testing.T) {
	const back, ahead, end = 30, 90, 150 // seconds since the log began
	clock := func(s int) time.Time {
		at := epoch.Add(time.Duration(s) * time.Second)
		switch {
		case s >= ahead:
			return at.Add(time.Hour)
		case s >= back:
			return at.Add(-time.Hour)
		}
		return at
	}
	flows := []struct{ began, ended int }{
		{0, 60}, {40, 80}, {70, 120}, {5, end}, {10, 20}, {100, 110}, {15, 130}, {95, end}, {50, end},
	}
	for _, timed := range []bool{true, false} {
		for _, step := range []int{1, 13, end} { // seconds from flush to flush
			dir := t.TempDir()
			w := openLog(t, dir, small)
			for s := range end {
				others := numbered(uint64(1000 + s))
				others.Kind, others.Time, others.Duration = Begin, clock(s), 0
				now := []Record{others}
				for i, f := range flows {
					r := numbered(uint64(i + 1))
					r.Time, r.Duration = clock(s), 0
					switch {
					case s == f.began:
						r.Kind = Begin
					case s == f.ended && timed && clock(s).After(clock(f.began)): // as the kernel reports it
						r.Duration = clock(s).Sub(clock(f.began))
					case s != f.ended:
						continue
					}
					now = append(now, r)
				}
				appendAll(t, w, now)
				if s%step == 0 {
					assert.NoError(t, w.Flush())
				}
			}
			assert.NoError(t, w.Flush())
			for s := 0; s < end; s += 3 {
				for i, f := range flows {
					q := Query{Addr: numbered(uint64(i + 1)).Translated.Src, From: clock(s), Until: clock(s)}
					want := 0
					for k := f.began; k <= min(f.ended, end-1); k++ {
						// A time that the clock skipped may be a time without records.
						out := k == ahead && k > f.began && clock(s).After(clock(k-1)) && clock(s).Before(clock(k))
						if clock(k).Equal(clock(s)) || out {
							want = 1
						}
					}
					if a := assert.Must(Find(context.Background(), dir, q))(t); len(a.Flows) != want {
						t.Errorf("durations %t, flush every %d s: at %d s Find returns the flow from %d s to %d s %d times, want %d", timed, step, s, f.began, f.ended, len(a.Flows), want)
					}
				}
			}
			assert.NoError(t, w.Close())
		}
	}
}

// TestFindAndGaps: a flow whose end may be among lost records is uncertain, and a flow that
// began after the gap is not. A flow is over if its translation was used again.
func TestFindAndGaps(t *testing.T) {
	addr := numbered(1).Translated.Src
	flow := func(n uint64, at time.Duration) Record {
		r := numbered(n)
		r.Kind, r.Translated.Src, r.Time = Begin, addr, epoch.Add(at)
		return r
	}
	gap := Record{Kind: Gap, Time: epoch.Add(20 * time.Second), Duration: 10 * time.Second, Lost: 3}
	again := flow(2, 40*time.Second)
	dir := logged(t, []Record{flow(1, 0), flow(2, time.Second), gap, flow(3, 30*time.Second), again})
	a := assert.Must(Find(context.Background(), dir, Query{Addr: addr, From: epoch.Add(15 * time.Second)}))(t)
	var got []string
	for _, f := range a.Flows {
		got = append(got, fmt.Sprintf("%s %s %t", f.Original.Src, f.Begin.Sub(epoch), f.Uncertain))
	}
	want := []string{"10.88.0.1:1 0s true", "10.88.0.3:3 30s false", "10.88.0.2:2 40s false"}
	if !slices.Equal(got, want) || len(a.Gaps) != 1 || a.Gaps[0].Lost != 3 {
		t.Errorf("got %q and %+v", got, a.Gaps)
	}
	a = assert.Must(Find(context.Background(), dir, Query{Addr: addr, From: epoch.Add(21 * time.Second)}))(t)
	if len(a.Gaps) != 0 {
		t.Errorf("got %+v", a.Gaps)
	}
}

// TestFindErrors: Find without an address, without a log, and with a canceled context.
func TestFindErrors(t *testing.T) {
	if _, err := Find(context.Background(), t.TempDir(), Query{}); err == nil {
		t.Error("no error for a query without an address")
	}
	q := Query{Addr: numbered(1).Translated.Src}
	for _, dir := range []string{t.TempDir() + "/none", t.TempDir()} {
		if _, err := Find(context.Background(), dir, q); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v", dir, err)
		}
	}
	// A writer without records has begun a log.
	begun := t.TempDir()
	w := assert.Must(Open(begun, Options{}))(t)
	if a, err := Find(context.Background(), begun, q); err != nil || len(a.Flows) != 0 {
		t.Errorf("%+v, %v", a, err)
	}
	assert.NoError(t, w.Close())
	dir := logged(t, some(40_000))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Find(ctx, dir, q); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
