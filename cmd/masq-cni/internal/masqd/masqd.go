// Package masqd determines the state of the masqd of a node. The lock of masqd tells whether
// it runs, /proc whether its process is stopped, and /readyz whether it is ready.
package masqd

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// enabled is where systemd has a link to each unit that it starts at boot (systemctl enable).
const enabled = "etc/systemd/system/*.wants/masqd.service"

// StateOf returns the state of the masqd whose lock has this path. root is the root of the
// node's file system.
func StateOf(ctx context.Context, lock, root string) (report.Daemon, error) {
	d, written, err := holderOf(lock)
	switch {
	case err == nil && !d.Running:
		d.Evidence = []report.Evidence{{Source: lock, Value: "not locked by a process"}}
		units, _ := filepath.Glob(filepath.Join(cmp.Or(root, "/"), enabled)) // fails for a bad pattern only
		if len(units) > 0 {
			d.Evidence = append(d.Evidence, report.Evidence{Source: units[0], Value: "the unit is enabled"})
		}
		d.Expected = written.HasRun || len(units) > 0
		return d, nil
	case err != nil:
		return d, err
	}
	d.Expected = true
	if d.Elsewhere {
		d.Evidence = []report.Evidence{namespaceOf("thread-self"), namespaceOf(strconv.Itoa(d.PID))}
	}
	d.Configuration, d.ConfigurationFault, d.Helpers = written.Configuration, written.ConfigurationFault, written.Helpers
	at := readyAddress(written)
	switch {
	case d.PID != 0 && isStopped(d.PID):
		d.Running, d.Stopped = false, true
		d.Evidence = []report.Evidence{{Source: fmt.Sprintf("state in /proc/%d/stat", d.PID), Value: processState(d.PID)}, {Source: lock, Value: fmt.Sprintf("locked by process %d", d.PID)}}
	case at != "" && !d.Elsewhere:
		r, err := readyAt(ctx, at)
		d.NotReady, d.Losses = strings.Join(r.Reasons, "; "), r.Losses
		if err != nil {
			d.NotReady = fmt.Sprintf("it does not answer on %s: %v", at, err)
		}
		if d.NotReady != "" {
			d.Evidence = []report.Evidence{{Source: "GET /readyz on " + at, Value: d.NotReady}, {Source: lock, Value: fmt.Sprintf("locked by process %d", d.PID)}}
		}
	}
	return d, nil
}

// holderOf returns the masqd that holds a lock, and what it has written into the file.
func holderOf(path string) (report.Daemon, store.Daemon, error) {
	written, holder, err := store.ReadLock(path)
	d := report.Daemon{Running: holder.Running, PID: holder.PID}
	d.Elsewhere = d.PID != 0 && isElsewhere(d.PID)
	return d, written, err
}

// isElsewhere reports whether a process is known to be in another network namespace.
func isElsewhere(pid int) bool {
	var here, there unix.Stat_t
	return unix.Stat("/proc/thread-self/ns/net", &here) == nil &&
		unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &there) == nil &&
		(here.Ino != there.Ino || here.Dev != there.Dev)
}

// namespaceOf returns the network namespace of a process as evidence.
func namespaceOf(process string) report.Evidence {
	path := "/proc/" + process + "/ns/net"
	link, err := os.Readlink(path)
	if err != nil {
		link = err.Error()
	}
	return report.Evidence{Source: path, Value: link}
}

// isStopped reports whether a process is stopped by a signal or a debugger.
func isStopped(pid int) bool {
	state := processState(pid)
	return state == "T" || state == "t"
}

// processState returns the state of a process in /proc/PID/stat, or "" if it is unknown.
func processState(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// proc_pid_stat(5): the name stands in parentheses, and may contain any character.
	_, rest, ok := strings.Cut(string(b[max(0, strings.LastIndexByte(string(b), ')')):]), ") ")
	if !ok || rest == "" {
		return ""
	}
	return rest[:1]
}

// readyAddress returns the address of /readyz that needs neither TLS nor a password, in the
// form of masqd's --listen, or "" without such an address. Earlier versions of masqd write
// only Listen, and have no TLS.
func readyAddress(d store.Daemon) string {
	switch {
	case d.Health != "":
		return d.Health
	case d.WebConfig == "":
		return d.Listen
	}
	return ""
}
