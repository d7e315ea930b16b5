package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

const (
	crowded = 10_000 // attachments, for a sync without differences
	most    = 50_000
)

// daemon measures masqd. No peer repairs rules, so repairs have no comparison. A sync is compared
// with nft.
func (b *bench) daemon(ctx context.Context) (section, error) {
	s := section{
		title: "masqd",
		note: fmt.Sprintf("A repair is timed from outside, from the change of the ruleset to masqd's transaction, "+
			"by polling the generation each 0.2 ms, %d times each. "+
			"A reload is timed from the file's renaming to the transaction. Idle: processor time of one minute without events, from the scheduler. "+
			"A sync without differences is timed by masqd itself, the command by the clock, in turn. "+
			"The attachments are IPv4 records with one policy. ip-masq-agent restores its rules once a minute; ptp and bridge never do.", b.repairs),
	}
	return s.of(ctx, b.repair, b.nothing, b.memory)
}

// daemonOn starts masqd on a separate node with this number of attachments.
func (b *bench) daemonOn(ctx context.Context, size int) (*masqd, error) {
	b.progress("masqd with %d attachments", size)
	n, err := b.site.node(fmt.Sprintf("masqd%d", size))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.MkdirAll(n.dir, 0o700), n.populate(size), os.WriteFile(n.config(), []byte("{}"), 0o600)); err != nil {
		return nil, err
	}
	d, err := b.masqd(ctx, n)
	if err != nil {
		return nil, err
	}
	if has, err := d.metric("masq_attachments"); err != nil || int(has) != size {
		return nil, errors.Join(err, fmt.Errorf("masqd has %g attachments", has), d.end())
	}
	return d, nil
}

func (b *bench) repair(ctx context.Context) (rows []row, err error) {
	d, err := b.daemonOn(ctx, level2)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.end()) }()
	rules, err := observeRules(d.NS)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rules.close()) }()
	staying, end, err := d.stayingNft(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	leaving := func(text string) error { return d.nft(ctx, text) }
	const element = "delete element inet masq policy4 { 10.64.0.2 }"
	for _, change := range []struct {
		name, text string
		by         func(string) error
		target     float64
	}{
		{"nft flush ruleset", "flush ruleset", leaving, 20},
		{"flush ruleset in an nft that stays", "flush ruleset", staying, 0},
		{"delete table inet masq", "delete table inet masq", leaving, 20},
		{"one element deleted", element, leaving, 20},
		{"one element deleted in an nft that stays", element, staying, 0},
		{"an unexpected rule", "insert rule inet masq postrouting accept", leaving, 20},
	} {
		b.progress("%s", change.name)
		var took sample
		for range b.repairs {
			t, err := d.timed(ctx, rules, 2, func() error { return change.by(change.text) })
			if err != nil {
				return nil, fmt.Errorf("%s: %w", change.name, err)
			}
			took = append(took, t)
		}
		if change.target == 0 {
			rows = append(rows, row{what: "repair, " + change.name, show: millis, values: took})
			continue
		}
		rows = append(rows, limits("repair, "+change.name, took, change.target, 250)...)
	}
	var took sample
	for i := range b.repairs {
		t, err := d.timed(ctx, rules, 1, func() error {
			text := fmt.Sprintf("nonMasqueradeCIDRs: [192.168.%d.0/24]", i)
			return safedir.WriteFile(d.config(), d.config()+".new", []byte(text))
		})
		if err != nil {
			return nil, fmt.Errorf("reload: %w", err)
		}
		took = append(took, t)
	}
	rows = append(rows, limits("reload, another prefix is direct", took, 100, 100)...)
	idle, err := b.idle(ctx, d)
	return append(rows, idle...), err
}

// stayingNft changes the ruleset by an nft that keeps running. An nft that exits blocks all other
// changes until the kernel has freed the deleted objects (nft_rcv_nl_event of
// net/netfilter/nf_tables_api.c).
func (d *masqd) stayingNft(ctx context.Context) (change func(string) error, end func() error, err error) {
	cmd := d.Command(ctx, "nft", "-i")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	change = func(text string) error {
		_, err := io.WriteString(in, text+"\n")
		return err
	}
	end = func() error {
		err := errors.Join(in.Close(), cmd.Wait())
		if said.Len() > 0 {
			err = errors.Join(err, fmt.Errorf("nft -i: %s", said.Bytes()))
		}
		return err
	}
	return change, end, nil
}

// limits returns rows for the median and the maximum.
func limits(what string, took sample, median, longest float64) []row {
	at := func(q float64) func(row) float64 { return func(r row) float64 { return r.values.at(q) } }
	return []row{
		{what: what, show: millis, values: took, target: target{median, atMost, at(0.5)}},
		{what: "the longest of them", show: millis, values: sample{took.at(1)}, target: target{longest, atMost, at(1)}},
	}
}

// spacing is the minimum time between a repair and the next change.
const spacing = 30 * time.Millisecond

// timed makes a change and waits for masqd's repair, which together are this number of transactions.
// It returns the milliseconds from the first transaction, or from the begin of a change outside
// nftables.
func (d *masqd) timed(ctx context.Context, rules *generations, transactions uint32, change func() error) (float64, error) {
	// The kernel increments the generation before the change is complete: a change that comes too
	// soon finds no table.
	for time.Since(time.Unix(0, rules.since.Load())) < spacing {
		time.Sleep(every)
	}
	before := rules.now.Load()
	begun := time.Now()
	made := make(chan error, 1)
	go func() { made <- change() }()
	timeout := begun.Add(10 * time.Second)
	for seen := uint32(0); seen < transactions; {
		if now := rules.now.Load() - before; now > seen {
			seen = now
			at := time.Unix(0, rules.since.Load())
			if seen >= transactions {
				return at.Sub(begun).Seconds() * 1e3, <-made
			}
			begun = at
		}
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case time.Now().After(timeout):
			return 0, errors.Join(errors.New("masqd did nothing for 10 s"), <-made)
		}
		time.Sleep(every)
	}
	return 0, <-made
}

// idle measures masqd during one minute without events.
func (b *bench) idle(ctx context.Context, d *masqd) ([]row, error) {
	b.progress("masqd at rest, for a minute")
	if err := rest(ctx, 3*time.Second); err != nil { // it returns memory to the kernel
		return nil, err
	}
	before, err := d.spent()
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := rest(ctx, time.Minute); err != nil {
		return nil, err
	}
	after, err := d.spent()
	if err != nil {
		return nil, err
	}
	mb, err := d.resident()
	percent := func(v float64) string { return fmt.Sprintf("%.4f %%", v) }
	return []row{
		{what: "idle, of a core", show: percent, values: sample{100 * float64(after-before) / float64(time.Since(begun))}, target: target{0.1, atMost, median}},
		{what: fmt.Sprintf("resident, %d attachments", level2), show: megabytes, values: sample{mb}, target: target{20, atMost, median}},
	}, err
}

func rest(ctx context.Context, t time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(t):
		return nil
	}
}

func megabytes(v float64) string { return fmt.Sprintf("%.1f MB", v) }

// nothing compares a sync that finds no difference with a listing by nft.
func (b *bench) nothing(ctx context.Context) (rows []row, err error) {
	d, err := b.daemonOn(ctx, crowded)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.end()) }()
	var syncs, list sample
	for range 20 {
		sum, err := d.metric("masq_sync_duration_seconds_sum")
		if err != nil {
			return nil, err
		}
		count, err := d.metric("masq_sync_duration_seconds_count")
		if err != nil {
			return nil, err
		}
		if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return nil, err
		}
		var now float64
		err = d.until(ctx, "done syncing", func() (bool, error) {
			var err error
			now, err = d.metric("masq_sync_duration_seconds_count")
			return now > count, err
		})
		if err != nil {
			return nil, err
		}
		after, err := d.metric("masq_sync_duration_seconds_sum")
		if err != nil {
			return nil, err
		}
		syncs = append(syncs, (after-sum)/(now-count)*1e3)
		begun := time.Now()
		if err := d.list(ctx); err != nil {
			return nil, err
		}
		list = append(list, time.Since(begun).Seconds()*1e3)
	}
	micros := func(v float64) string { return fmt.Sprintf("%.3f ms", v) }
	return []row{
		{what: fmt.Sprintf("nft -j list table, %d attachments", crowded), show: millis, values: list},
		{
			what: "a sync without differences", show: micros, values: syncs, against: "nft -j list table",
			ratio: ofMedians(syncs, list), target: target{limit: 0.01, side: atMost},
		},
	}, nil
}

func (d *masqd) list(ctx context.Context) error {
	cmd := d.Command(ctx, "nft", "-j", "list", "table", "inet", "masq")
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	cmd.Stdout = null
	if err := cmd.Run(); err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return fmt.Errorf("nft -j list: %w\n%s", err, exit.Stderr)
		}
		return err
	}
	return nil
}

func (b *bench) memory(ctx context.Context) (rows []row, err error) {
	d, err := b.daemonOn(ctx, most)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.end()) }()
	if err := rest(ctx, 5*time.Second); err != nil { // it returns memory to the kernel
		return nil, err
	}
	mb, err := d.resident()
	return []row{{what: fmt.Sprintf("resident, %d attachments", most), show: megabytes, values: sample{mb}, target: target{60, atMost, median}}}, err
}
