package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/doctor"
)

// examined is the number of flows on the node that doctor examines.
const examined = 100_000

// slowestChecks is the number of checks with a row.
const slowestChecks = 3

// doctor measures masq-cni doctor, and its checks one by one.
func (b *bench) doctor(ctx context.Context) (section, error) {
	s := section{
		title: fmt.Sprintf("masq-cni doctor, %d attachments, %s flows", level2, grouped(examined)),
		note: fmt.Sprintf("A node with masqd and containers of masq. The flows are created by netlink. "+
			"%d rounds; the program is timed from the start of the process to its end. "+
			"The checks that masqd runs every five minutes are timed in one process, from an empty memory each time. "+
			"The first check that needs a part of the node, such as its flows, pays for reading it.", readings),
	}
	return s.of(ctx, b.examine)
}

func (b *bench) examine(ctx context.Context) (rows []row, err error) {
	l, err := b.crowd(ctx, "doctor", dual, level2)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.WriteFile(l.config(), []byte("{}"), 0o600), l.install()); err != nil {
		return nil, err
	}
	d, err := b.masqd(ctx, l.node)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.end(), b.shrink(ctx, l)) }()
	b.progress("making %d flows", examined)
	if err := l.begin(examined); err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, l.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }))
	}()
	var whole, busy, cheap sample
	checks := map[string]sample{}
	for round := range readings {
		b.progress("doctor, round %d of %d", round, readings)
		took, processor, err := b.runDoctor(ctx, l)
		if err != nil {
			return nil, err
		}
		whole, busy = append(whole, took), append(busy, processor)
		took, err = l.check(ctx, checks)
		if err != nil {
			return nil, err
		}
		cheap = append(cheap, took)
	}
	rows = []row{
		{what: "masq-cni doctor", show: millis, values: whole, target: target{300, atMost, median}},
		{what: "its processor time", show: millis, values: busy},
		{what: "the checks of masqd", show: millis, values: cheap},
	}
	var names []string
	for name := range checks {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(checks[b].median(), checks[a].median()) })
	for i, name := range names {
		if i < slowestChecks {
			rows = append(rows, row{what: "of them " + name, show: millis, values: checks[name]})
		}
		b.progress("check %s: %s", name, millis(checks[name].median()))
	}
	return rows, nil
}

// install puts the plugin and its network where doctor searches for them.
func (l *level) install() error {
	masq, err := os.ReadFile(l.program)
	if err != nil {
		return err
	}
	conf, err := json.Marshal(keys{"cniVersion": l.conf["cniVersion"], "name": l.conf["name"], "plugins": []keys{l.conf}})
	if err != nil {
		return err
	}
	return errors.Join(
		os.Mkdir(l.confDir(), 0o755), os.WriteFile(filepath.Join(l.confDir(), "10-bench.conflist"), conf, 0o644),
		os.Mkdir(l.binDir(), 0o755), os.WriteFile(filepath.Join(l.binDir(), "masq"), masq, 0o755))
}

func (l *level) confDir() string { return filepath.Join(l.dir, "net.d") }
func (l *level) binDir() string  { return filepath.Join(l.dir, "bin") }

// runDoctor returns the milliseconds that masq-cni doctor takes, and its processor time in
// milliseconds. Any finding is reported: the node is healthy.
func (b *bench) runDoctor(ctx context.Context, l *level) (took, processor float64, err error) {
	cmd := l.Command(ctx, filepath.Join(b.masq, "masq-cni"), "doctor", "-o", "json",
		"--state-dir", l.state(), "--conf-dir", l.confDir(), "--bin-dir", l.binDir())
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	begun := time.Now()
	failed := cmd.Run()
	took = inMillis(time.Since(begun))
	var r doctor.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return 0, 0, fmt.Errorf("%w: %s", errors.Join(failed, err), said.Bytes())
	}
	for _, f := range r.Findings {
		b.progress("%s: %s: %s", f.Severity, f.Check, f)
	}
	for _, c := range r.NotChecked {
		b.progress("not checked: %s: %s", c.Check, c.Reason)
	}
	return took, inMillis(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()), nil
}

func inMillis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// check runs the checks of masqd, and adds the time of each. It returns the time of all.
func (l *level) check(ctx context.Context, into map[string]sample) (total float64, err error) {
	err = l.Do(func() error {
		begun := time.Now()
		n, err := doctor.Open(doctor.Options{StateDir: l.state(), ConfDir: l.confDir(), BinDir: l.binDir()})
		if err != nil {
			return err
		}
		since := func(t time.Time) float64 { return inMillis(time.Since(t)) }
		into["reading the records"] = append(into["reading the records"], since(begun))
		for _, c := range doctor.CheapChecks() {
			start := time.Now()
			doctor.Run(ctx, n, []doctor.Check{c})
			into[c.ID] = append(into[c.ID], since(start))
		}
		total = since(begun)
		return nil
	})
	return total, err
}

// begin creates translated flows of the attachments.
func (l *level) begin(flows int) error {
	var sources []netip.Addr
	for _, a := range l.present {
		addr, err := a.address(netip.IPv4Unspecified())
		if err != nil {
			return err
		}
		sources = append(sources, addr)
	}
	return l.Do(func() error {
		socket, err := ctnetlink()
		if err != nil {
			return err
		}
		err = createFlows(socket, flows, func(i int) netip.Addr { return sources[i%len(sources)] })
		return errors.Join(err, unix.Close(socket))
	})
}
