package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// readings is the number of turns of each reader.
const readings = 11

// conntrack measures programs that read or log the kernel's table of flows.
func (b *bench) conntrack(ctx context.Context) (section, error) {
	s := section{
		title: fmt.Sprintf("conntrack, %s flows of %d attachments", grouped(tracked), level2),
		note: fmt.Sprintf("IPv4 flows translated by SNAT, two of three TCP, created by netlink. "+
			"nf_conntrack_max is raised for that time. %d rounds in random order; programs are timed from the start of the process to its end. "+
			"All programs read the same dump: receiving and discarding it is the lower bound. "+
			"Added peak memory is measured in a process that does nothing else, above its memory with %d attachments read. Its allocations are counted for a second summary, minus the count for a summary whose filter excludes all flows. "+
			"The rate of events is raised by 30 %% each half second until the buffer of conntrack -E -o extended is full; "+
			"masqd logs with --nat-log the flows that one processor creates and deletes in 2 s without a pause, timed until the last record is accepted. "+
			"New flows are measured as in the section above, through masq's table in %d rounds, with masqd restarted each time.", readings, level2, b.rounds),
	}
	return s.of(ctx, b.reading, b.logging, b.newFlows)
}

// reading compares programs that read the table.
func (b *bench) reading(ctx context.Context) (rows []row, err error) {
	undo, err := roomFor(tracked)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	t, err := b.track("tracked", tracked)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	readers := []reader{
		{"conntrack -L", t.program},
		{"ConntrackTableList of vishvananda/netlink", t.list},
		{"receive and discard", t.discard},
		{"summary by attachment", t.summary},
		{"masq-cni inspect pods", b.inspect(t)},
		{"flows of one attachment", t.ofOne},
		{"who", b.who(t)},
	}
	took := map[string]sample{}
	order := rand.New(rand.NewPCG(4, 4))
	for round := range readings {
		b.progress("%s flows, round %d of %d", grouped(tracked), round, readings)
		for _, i := range order.Perm(len(readers)) {
			runtime.GC()
			begun := time.Now()
			if err := readers[i].read(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", readers[i].name, err)
			}
			took[readers[i].name] = append(took[readers[i].name], time.Since(begun).Seconds())
		}
	}
	rate := func(i int) sample {
		return took[readers[i].name].each(func(s float64) float64 { return tracked / s })
	}
	ms := func(i int) sample { return took[readers[i].name].each(func(s float64) float64 { return s * 1e3 }) }
	for _, i := range []int{0, 1} {
		rows = append(rows, row{what: readers[i].name, show: perSecond, values: rate(i)})
	}
	last := -1
	for _, x := range []struct {
		reader, against int
		limit           float64
	}{{2, 0, 0}, {2, 1, 0}, {3, 0, 3}, {3, 1, 3}, {3, 2, 0.8}, {4, 0, 0}} {
		name := readers[x.reader].name
		if x.reader == last {
			name = "the same"
		}
		last = x.reader
		r := row{what: name, show: perSecond, values: rate(x.reader), against: readers[x.against].name, ratio: ofMedians(rate(x.reader), rate(x.against))}
		if x.limit != 0 {
			r.target = target{limit: x.limit, side: atLeast}
		}
		rows = append(rows, r)
	}
	rows = append(rows,
		row{what: "the whole summary", show: millis, values: ms(3)},
		row{
			what: readers[5].name, show: millis, values: ms(5), against: "the whole summary",
			ratio: ofMedians(ms(5), ms(3)), target: target{limit: 0.15, side: atMost},
		},
		row{what: "masq-cni who, the whole tuple", show: millis, values: ms(6), target: target{50, atMost, median}})
	more, err := t.frugal(ctx)
	return append(rows, more...), err
}

func decimals(v float64) string { return fmt.Sprintf("%.2f", v) }

// inspect runs masq-cni inspect for all attachments.
func (b *bench) inspect(t *trackedNode) func(context.Context) error {
	return func(ctx context.Context) error {
		return t.Command(ctx, filepath.Join(b.masq, "masq-cni"), "inspect", "pods", "--state-dir", t.state()).Run()
	}
}

// who runs masq-cni who for one flow, another one each time.
func (b *bench) who(t *trackedNode) func(context.Context) error {
	next := 0
	return func(ctx context.Context) error {
		next += tracked/readings - 1
		f, egress := flowNumber(next)
		out, err := t.Command(ctx, filepath.Join(b.masq, "masq-cni"), "who", egress.String()+"/"+protocols[f.Original.Proto],
			"--to", fmt.Sprintf("%s:%d", f.Original.Dst, f.Original.DstPort), "--state-dir", t.state(), "-o", "json").Output()
		if pod := fmt.Sprintf("web-%08x", next%level2); err == nil && !strings.Contains(string(out), pod) {
			err = fmt.Errorf("the answer does not name %s: %s", pod, out)
		}
		return err
	}
}

// frugal measures the memory of processes that do nothing else.
func (t *trackedNode) frugal(ctx context.Context) (rows []row, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	memory, allocations := []row{}, []row{}
	for _, what := range []string{soleSummary, soleList} {
		var mb, each sample
		for range readings {
			out, err := t.Command(ctx, self, soleWord, what, t.state()).Output()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", what, err)
			}
			var m, n float64
			if _, err := fmt.Sscan(string(out), &m, &n); err != nil {
				return nil, fmt.Errorf("%s: %q: %w", what, out, err)
			}
			mb, each = append(mb, m), append(each, n)
		}
		memory = append(memory, row{what: "added peak memory, " + what, show: megabytes, values: mb})
		allocations = append(allocations, row{what: "allocations for a flow, " + what, show: decimals, values: each})
	}
	memory[0].target = target{8, atMost, median}
	allocations[0].target = target{0, atMost, median}
	return append(memory, allocations...), nil
}
