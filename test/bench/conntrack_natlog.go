package main

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/masq-cni/masq-cni/pkg/natlog"
)

const (
	logged     = 400_000 // number of records; a round uses each several times
	passes     = 5
	busyFlows  = 1000 // flows that begin per second
	logRoom    = 1 << 32
	realistic  = 200_000 // number of records of the log whose size is measured
	logPattern = prefix + "-natlog-*"
)

// logging measures the NAT log: records per second on a disk, and their size.
func (b *bench) logging(ctx context.Context) (_ []row, err error) {
	g := newLogTraffic(busyFlows)
	var r natlog.Record
	for range busyFlows * 200 { // afterwards as many flows end as begin
		g.next(&r)
	}
	records := make([]natlog.Record, logged)
	for i := range records {
		g.next(&records[i])
	}
	t, err := b.track("events", 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	dir, err := os.MkdirTemp("", logPattern)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.WriteFile(t.config(), []byte("{}"), 0o600); err != nil {
		return nil, err
	}
	var rates, losses, whole, lost sample
	for round := range readings {
		b.progress("NAT log, round %d of %d", round, readings)
		loss, err := t.lossRate(ctx)
		if err != nil {
			return nil, err
		}
		losses = append(losses, loss)
		d, err := b.masqd(ctx, t.node, "--nat-log", dir)
		if err != nil {
			return nil, err
		}
		events, missing, err := t.logs(ctx, d)
		if err := errors.Join(err, d.end()); err != nil {
			return nil, err
		}
		whole, lost = append(whole, events), append(lost, float64(missing))
		rate, err := appendAll(records)
		if err != nil {
			return nil, err
		}
		rates = append(rates, rate)
	}
	size, err := sizeOfRecord(records[:realistic])
	if err != nil {
		return nil, err
	}
	bytes := func(v float64) string { return fmt.Sprintf("%.2f B", v) }
	rows := []row{
		{what: "events at which conntrack -E begins to lose", show: perSecond, values: losses},
		{
			what: "NAT log, records taken and written", show: perSecond, values: rates, against: "conntrack -E",
			ratio: ofMedians(rates, losses), target: target{limit: 3, side: atLeast},
		},
		{
			what: "masqd, all events that one processor makes, logged", show: perSecond, values: whole, against: "conntrack -E",
			ratio: ofMedians(whole, losses), target: target{limit: 3, side: atLeast},
		},
		{what: "events of them lost", show: plain, values: lost, target: target{0, atMost, func(r row) float64 { return r.values.at(1) }}},
		{
			what: fmt.Sprintf("a record of the NAT log, at %d flows/s", busyFlows), show: bytes, values: sample{size},
			target: target{12, atMost, median},
		},
	}
	return rows, nil
}

// withLog calls f with a log on a disk.
func withLog(f func(dir string, w *natlog.Writer) error) (err error) {
	dir, err := os.MkdirTemp("", logPattern)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := natlog.Open(dir, natlog.Options{MaxTotalBytes: logRoom})
	if err != nil {
		return err
	}
	return errors.Join(f(dir, w), w.Close())
}

// appendAll returns the rate at which a log accepts and writes records. When its queue is full, it
// waits.
func appendAll(records []natlog.Record) (rate float64, err error) {
	err = withLog(func(_ string, w *natlog.Writer) error {
		begun := time.Now()
		for i := range passes * len(records) {
			for {
				err := w.Append(&records[i%len(records)])
				if err == nil {
					break
				}
				if !errors.Is(err, natlog.ErrLost) {
					return err
				}
				if err := w.Flush(); err != nil {
					return err
				}
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		rate = float64(passes*len(records)) / time.Since(begun).Seconds()
		return nil
	})
	return rate, err
}

// sizeOfRecord returns the disk space per record, with a flush for each second of the records'
// times.
func sizeOfRecord(records []natlog.Record) (size float64, err error) {
	err = withLog(func(dir string, w *natlog.Writer) error {
		flushed := records[0].Time
		for i := range records {
			if err := w.Append(&records[i]); err != nil {
				return err
			}
			if now := records[i].Time; now.Sub(flushed) >= time.Second {
				flushed = now
				if err := w.Flush(); err != nil {
					return err
				}
			}
		}
		if err := w.Close(); err != nil {
			return err
		}
		size, err = diskUse(dir)
		size /= float64(len(records))
		return err
	})
	return size, err
}

func diskUse(dir string) (total float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		i, err := e.Info()
		if err == nil {
			total += float64(i.Size())
		}
		return err
	})
	return total, err
}

// next sets r to the next record: the end of an open flow, or the begin of the next flow.
func (t *logTraffic) next(r *natlog.Record) {
	if len(t.open) != 0 && t.open[0].Time.Before(t.begun) {
		*r = heap.Pop(&t.open).(natlog.Record)
		return
	}
	var end natlog.Record
	*r, end = t.flow()
	heap.Push(&t.open, end)
}
