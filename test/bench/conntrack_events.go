package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	offering  = 500 * time.Millisecond // duration of one rate
	firstRate = 2_000                  // events/s
	rateStep  = 1.3
	lastRate  = 10_000_000
	// conntrackGroups are NFNLGRP_CONNTRACK_NEW, UPDATE and DESTROY as a mask.
	conntrackGroups = 7
	batch           = 16 // number of flows that one system call creates or deletes
)

// lossRate raises the rate of events until conntrack -E loses some, and returns that rate in
// events/s. Each flow is two events: it is created and deleted.
func (t *trackedNode) lossRate(ctx context.Context) (float64, error) {
	cmd := t.Command(ctx, "conntrack", "-E", "-o", "extended")
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	rate, err := t.raise(ctx, cmd)
	stop := cmd.Process.Signal(unix.SIGTERM)
	_ = cmd.Wait() // it ends with the signal
	return rate, errors.Join(err, stop)
}

func (t *trackedNode) raise(ctx context.Context, cmd *nstest.Command) (float64, error) {
	if _, err := t.settled(ctx, cmd.Process.Pid); err != nil {
		return 0, err
	}
	for rate := float64(firstRate); ; rate *= rateStep {
		_, offered, err := t.offer(rate, offering)
		if err != nil {
			return 0, err
		}
		lost, err := t.settled(ctx, cmd.Process.Pid)
		switch {
		case err != nil:
			return 0, err
		case lost > 0:
			return offered, nil
		case rate > lastRate:
			return 0, fmt.Errorf("conntrack -E loses nothing at %s events/s, and there are no more", grouped(offered))
		}
	}
}

// settled waits until a program listens and has read all its events, and returns how many events it
// lost because its buffer was full.
func (t *trackedNode) settled(ctx context.Context, pid int) (lost int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		waiting, lost, err := listening(pid)
		if err == nil && waiting == 0 {
			return lost, nil
		}
		select {
		case <-ctx.Done():
			return 0, errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// listening returns how many bytes wait for the listener to conntrack's events in a process's
// namespace, and how many messages it has lost.
func listening(pid int) (waiting, lost int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/netlink", pid))
	if err != nil {
		return 0, 0, err
	}
	// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line))
		if len(f) != 10 || f[1] != strconv.Itoa(unix.NETLINK_NETFILTER) {
			continue
		}
		if groups, err := strconv.ParseUint(f[3], 16, 32); err != nil || groups&conntrackGroups == 0 {
			continue
		}
		waiting, rmemErr := strconv.Atoi(f[4])
		lost, dropsErr := strconv.Atoi(f[8])
		return waiting, lost, errors.Join(rmemErr, dropsErr)
	}
	return 0, 0, fmt.Errorf("process %d does not listen", pid)
}

// offer creates and deletes flows evenly at a rate of events/s, and returns the number of events and
// the rate that it reached.
func (t *trackedNode) offer(rate float64, d time.Duration) (events int, reached float64, err error) {
	var create, remove []byte
	for i := range batch {
		f, egress := flowNumber(tracked + i)
		create = appendNew(create, &f, egress)
		at := len(remove)
		remove, _ = f.AppendBinary(begin(remove)) // never fails
		remove = seal(remove, at, ctDelete, 0)
	}
	interval := time.Duration(batch / rate * float64(time.Second))
	begun := time.Now()
	for due := begun; time.Since(begun) < d; {
		for _, messages := range [][]byte{create, remove} {
			// The next batch follows in some 100 µs, for which a timer is too inexact.
			for time.Now().Before(due) {
				runtime.Gosched()
			}
			if err := tell(t.raw, messages); err != nil {
				return 0, 0, err
			}
			events += batch
			// A delay is not compensated: that would make a burst.
			if due = due.Add(interval); time.Since(due) > interval {
				due = time.Now()
			}
		}
	}
	return events, float64(events) / time.Since(begun).Seconds(), nil
}

// logs has masqd log as many events as one processor can make. It returns the rate from the first
// event to the last record, and the number of lost events.
func (t *trackedNode) logs(ctx context.Context, d *masqd) (rate float64, lost int, err error) {
	const taken = "masq_nat_log_records_total"
	before, err := d.metric(taken)
	if err != nil {
		return 0, 0, err
	}
	pid := d.cmd.Process.Pid
	_, lostBefore, err := listening(pid)
	if err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	events, _, err := t.offer(1e9, 2*time.Second)
	if err != nil {
		return 0, 0, err
	}
	if lost, err = t.settled(ctx, pid); err != nil {
		return 0, 0, err
	}
	lost -= lostBefore
	err = d.until(ctx, "done logging", func() (bool, error) {
		now, err := d.metric(taken)
		return int(now-before) >= events-lost, err
	})
	return float64(events-lost) / time.Since(begun).Seconds(), lost, err
}
