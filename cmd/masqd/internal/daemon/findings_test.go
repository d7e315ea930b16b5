package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestFindings checks that the checks run a minute after the start and then at the interval,
// that each change has one log line, and that a check that cannot be made keeps its findings.
func TestFindings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cheap := doctor.CheapChecks()
		fault := func(n string) doctor.Finding {
			return doctor.Finding{
				Check: cheap[0].ID, Severity: report.SeverityError, Object: "interface eth0", Message: "lost " + n + " packets", Why: "traffic fails",
				Remedy: doctor.Remedy{Text: "enable it", Commands: []string{"ip link set eth0 up"}},
			}
		}
		made := []string{cheap[0].ID, cheap[1].ID}
		answers := []struct {
			r   doctor.Report
			err error
		}{
			{r: doctor.Report{Checks: made}},
			{r: doctor.Report{Checks: made, Findings: []doctor.Finding{fault("2")}}},
			{r: doctor.Report{Checks: made, Findings: []doctor.Finding{fault("3")}}}, // no change
			{r: doctor.Report{Checks: made[1:], NotChecked: []doctor.NotChecked{{Check: cheap[0].ID, Reason: "no answer"}}}},
			{err: errors.New("no records")},
			{err: errors.New("no records")},
			{r: doctor.Report{Checks: made}},
		}
		whole := store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "n", ContainerID: "c", Interface: "eth0"}, Pod: masq.Pod{Name: "web"}}, Links: []string{"veth1"}}
		var log bytes.Buffer
		calls, start := 0, time.Now()
		f := &findings{
			interval: 5 * time.Minute,
			cached:   func() []*store.Record { return []*store.Record{{Attachment: masq.Attachment{Key: whole.Key}}} },
			read:     func(masq.Key) (store.Record, bool, error) { return whole, true, nil },
			check: func(_ context.Context, records []store.Record) (doctor.Report, error) {
				if len(records) != 1 || records[0].Name != "web" || records[0].Links[0] != "veth1" {
					t.Errorf("records: %+v", records)
				}
				if at, want := time.Since(start), time.Minute+time.Duration(calls)*5*time.Minute; at != want {
					t.Errorf("pass %d after %s, not %s", calls, at, want)
				}
				a := answers[calls]
				a.r.Time.Time = time.Now()
				calls++
				return a.r, a.err
			},
			log: slog.New(slog.NewTextHandler(&log, nil)),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.run(ctx) }()
		time.Sleep(time.Second) // of the test's clock: each look is a second after a pass
		lines, pause := 0, firstDoctorDelay
		// counts are the findings of both checks, -1 if the check has no series.
		for i, x := range []struct {
			counts [2]int
			log    string // the new line
		}{
			{[2]int{0, 0}, ""},
			{[2]int{1, 0}, `level=ERROR msg="doctor found a fault" check=` + cheap[0].ID + ` finding="interface eth0 lost 2 packets" why="traffic fails" remedy="enable it: ip link set eth0 up"`},
			{[2]int{1, 0}, ""},
			{[2]int{1, 0}, ""},
			{[2]int{1, 0}, `level=WARN msg="doctor could not check the node" err="no records"`},
			{[2]int{1, 0}, ""},
			{[2]int{0, 0}, `level=INFO msg="a fault that doctor found is gone" check=` + cheap[0].ID + ` finding="interface eth0 lost`},
		} {
			if at, _ := f.counts(); i == 0 && !at.IsZero() {
				t.Errorf("before the first pass: %s", at)
			}
			time.Sleep(pause) // of the test's clock
			pause = f.interval
			synctest.Wait()
			got := [2]int{-1, -1}
			_, all := f.counts()
			for _, c := range all {
				for j := range got {
					if c.Check == cheap[j].ID && (c.Severity == string(cheap[j].Severity) || c.Count > 0) {
						got[j] = max(got[j], c.Count)
					}
				}
			}
			if got != x.counts {
				t.Errorf("pass %d: %+v", i, all)
			}
			fresh := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")[lines:]
			if log.Len() == 0 {
				fresh = nil
			}
			lines += len(fresh)
			if x.log == "" && len(fresh) > 0 || x.log != "" && (len(fresh) != 1 || !strings.Contains(fresh[0], x.log)) {
				t.Errorf("pass %d: log %q, want %q", i, fresh, x.log)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		f.interval = 0
		if err := f.run(t.Context()); err != nil || calls != len(answers) {
			t.Errorf("without an interval: %v, %d calls", err, calls)
		}
		// Many new findings do not flood the log.
		log.Reset()
		many := make([]doctor.Finding, 50)
		for i := range many {
			many[i] = fault("1")
			many[i].Object = strings.Repeat("x", i+1)
		}
		f.logChanges(t.Context(), many)
		if n := strings.Count(log.String(), "\n"); n != maxLoggedFindings+1 || !strings.Contains(log.String(), "count=30") {
			t.Errorf("%d lines:\n%s", n, log.String())
		}
		if _, all := (&findings{}).counts(); len(all) != 0 {
			t.Errorf("before the first pass: %v", all)
		}
	})
}
