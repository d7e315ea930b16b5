package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// metricsAt is the address at which masqd serves metrics inside its node.
const metricsAt = "127.0.0.1:9468"

// masqd is a running daemon on a node whose attachments are only records.
type masqd struct {
	*node
	cmd    *nstest.Command
	client http.Client
}

// populate writes records of this number of attachments in the plugin's format.
func (n *node) populate(size int) error {
	return n.Do(func() error {
		records, err := store.Open(n.state())
		if err != nil {
			return err
		}
		policy := masq.Default()
		policy.Node = true
		policy.Subnets = []netip.Prefix{netip.MustParsePrefix("10.64.0.0/12")}
		addr := netip.MustParseAddr("10.64.0.2")
		for i := range size {
			err := records.Put(store.Record{
				Attachment: masq.Attachment{
					Key:       masq.Key{Network: "bench", ContainerID: fmt.Sprintf("%064x", i), Interface: "eth0"},
					Pod:       masq.Pod{Namespace: "default", Name: fmt.Sprintf("web-%08x", i), UID: "8e3ae2b7-3b05-4b0c-a0d0-6d5a2f1c9b4e"},
					Addresses: []netip.Addr{addr}, Policy: &policy, SpoofCheck: true,
				},
				Ready: true, NetNS: fmt.Sprintf("/var/run/netns/cni-%08x", i), IPAM: "host-local", MTU: 1500, Created: time.Now().UTC(),
			})
			if err != nil {
				return err
			}
			addr = addr.Next()
		}
		return nil
	})
}

func (n *node) state() string  { return filepath.Join(n.dir, "state") }
func (n *node) config() string { return filepath.Join(n.dir, "ip-masq-agent") }

// masqd starts masqd and waits until it is ready.
func (b *bench) masqd(ctx context.Context, n *node, args ...string) (*masqd, error) {
	d := &masqd{node: n, client: http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return n.Dial(ctx, network, netip.AddrPort{}, netip.MustParseAddrPort(metricsAt))
		},
	}}}
	args = append([]string{"--state-dir", n.state(), "--config", n.config(), "--listen", metricsAt, "--log-level", "error", "--resync-interval", "1h"}, args...)
	d.cmd = n.Command(ctx, filepath.Join(b.masq, "masqd"), args...)
	d.cmd.Stderr = b.stderr
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	return d, d.until(ctx, "ready", func() (bool, error) {
		r, err := d.client.Get("http://" + metricsAt + "/readyz")
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet
		}
		return r.StatusCode == http.StatusOK, r.Body.Close()
	})
}

// until polls every few milliseconds.
func (d *masqd) until(ctx context.Context, what string, f func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := f()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("masqd is not %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// end sends SIGTERM.
func (d *masqd) end() error {
	return errors.Join(d.cmd.Process.Signal(syscall.SIGTERM), d.cmd.Wait())
}

// metric returns the value of a metric. The name includes the labels in their exported form.
func (d *masqd) metric(name string) (float64, error) {
	r, err := d.client.Get("http://" + metricsAt + "/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Body.Close() }()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(text, 64)
		}
	}
	return 0, errors.Join(lines.Err(), fmt.Errorf("masqd has no metric %s", name))
}

// resident is VmRSS in MB.
func (d *masqd) resident() (float64, error) {
	size, err := status(strconv.Itoa(d.cmd.Process.Pid), "VmRSS:")
	return size / 1e6, err
}

// spent returns the processor time of all threads from the scheduler, in nanoseconds.
func (d *masqd) spent() (total time.Duration, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", d.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for _, t := range tasks {
		text, err := os.ReadFile(t)
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(ns)
	}
	return total, nil
}
