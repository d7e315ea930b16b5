package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// daemonOf returns the masqd that works on the records: whether there is one follows
// from its lock, what it does from /proc and from /readyz.
func daemonOf(path string) (report.Daemon, error) {
	d, told, err := locked(path)
	if err != nil || !d.Running {
		return d, err
	}
	d.Configuration, d.ConfigurationFault = told.Configuration, told.ConfigurationFault
	switch {
	case d.PID != 0 && stopped(d.PID):
		d.Running, d.Stopped = false, true
	case readyAddress(told) != "" && !d.Elsewhere:
		d.NotReady, d.Losses = notReady(readyAddress(told))
	}
	return d, nil
}

// locked reports who holds a lock, and what that masqd has written into it.
func locked(path string) (d report.Daemon, told store.Daemon, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return d, told, nil
	}
	if err != nil {
		return d, told, fmt.Errorf("is masqd running? %w", err)
	}
	defer func() { _ = f.Close() }()
	if pid := holder(f); pid != 0 {
		return report.Daemon{Running: true, PID: pid, Elsewhere: elsewhere(pid)}, store.ReadDaemon(f), nil
	}
	// /proc/locks leaves out those of processes that are not seen from here. To ask
	// by locking keeps a masqd that starts within these microseconds from its lock,
	// so it is asked last.
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return report.Daemon{Running: true}, store.ReadDaemon(f), nil
	case err != nil:
		return d, told, fmt.Errorf("is masqd running? lock %s: %w", path, err)
	}
	return d, told, nil // Close unlocks
}

// holder is the process that has a file locked, 0 where none is seen.
func holder(f *os.File) int {
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return 0
	}
	all, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	id := fmt.Sprintf("%02x:%02x:%d", unix.Major(s.Dev), unix.Minor(s.Dev), s.Ino)
	for line := range strings.Lines(string(all)) {
		// 1: FLOCK ADVISORY WRITE 4711 00:1a:42 0 EOF
		w := strings.Fields(line)
		if len(w) >= 6 && w[1] == "FLOCK" && w[5] == id {
			pid, _ := strconv.Atoi(w[4])
			return max(pid, 0)
		}
	}
	return 0
}

// elsewhere reports whether a process is known to be in another network namespace.
func elsewhere(pid int) bool {
	var here, there unix.Stat_t
	return unix.Stat("/proc/thread-self/ns/net", &here) == nil &&
		unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &there) == nil &&
		(here.Ino != there.Ino || here.Dev != there.Dev)
}

// stopped reports whether a process is stopped by a signal or a debugger.
func stopped(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// proc_pid_stat(5): the name, in parentheses, may have any character.
	_, rest, ok := strings.Cut(string(b[max(0, strings.LastIndexByte(string(b), ')')):]), ") ")
	return ok && (strings.HasPrefix(rest, "T") || strings.HasPrefix(rest, "t"))
}

// answerTimeout is how long masqd may take to answer. On a busy node it takes seconds.
const answerTimeout = 5 * time.Second

// readyAddress returns the address of /readyz that needs neither TLS nor a password, in the
// form of masqd's --listen, or "" without such an address. Earlier versions of masqd write
// Listen alone, and have no TLS.
func readyAddress(d store.Daemon) string {
	switch {
	case d.Health != "":
		return d.Health
	case d.WebConfig == "":
		return d.Listen
	}
	return ""
}

// dialable returns the network and the address to dial for an address that a masqd of this
// node listens on; ok is false if it is none.
func dialable(listen string) (network, address string, ok bool) {
	if path, ok := strings.CutPrefix(listen, "unix:"); ok {
		return "unix", path, true
	}
	at, err := netip.ParseAddrPort(listen)
	if err != nil {
		return "", "", false
	}
	if at.Addr().IsUnspecified() {
		loopback := netip.IPv6Loopback()
		if at.Addr().Is4() {
			loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		at = netip.AddrPortFrom(loopback, at.Port())
	}
	return "tcp", at.String(), true
}

// notReady asks a masqd for /readyz, and returns why it is not ready, empty where it is,
// and what it knows of recent losses, nil where it says nothing of them.
func notReady(listen string) (why string, losses *report.Losses) {
	network, address, ok := dialable(listen)
	if !ok {
		return "", nil
	}
	reasons, losses, err := readiness(network, address)
	if err != nil {
		return fmt.Sprintf("it does not answer on %s: %v", listen, err), nil
	}
	return strings.Join(reasons, "; "), losses
}

// readiness returns why a masqd is not ready, nil if it is. The calling goroutine dials,
// since its thread may be in another network namespace; a client of net/http dials in
// another goroutine.
func readiness(network, address string) (reasons []string, losses *report.Losses, err error) {
	c, err := net.DialTimeout(network, address, answerTimeout)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, nil, err
	}
	if _, err := io.WriteString(c, "GET /readyz HTTP/1.0\r\nHost: masqd\r\n\r\n"); err != nil {
		return nil, nil, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	var body struct {
		Reasons []string      `json:"reasons"`
		Losses  report.Losses `json:"losses"`
	}
	fault := json.NewDecoder(answer.Body).Decode(&body)
	if fault == nil {
		losses = &body.Losses
	}
	switch {
	case answer.StatusCode == http.StatusOK:
		return nil, losses, nil
	case len(body.Reasons) == 0:
		return []string{answer.Status}, losses, nil
	}
	return body.Reasons, losses, nil
}
