package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// gcPercent is how much the heap grows between two collections: half as much as Go
// would let it. At start, with tens of thousands of records, that decides the peak.
const gcPercent = 50

// boundMemory has the garbage collector keep below the memory limit of the cgroup, as
// far as it can, so that a burst of work does not have masqd killed. GOGC and
// GOMEMLIMIT of the environment override it.
func boundMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if n, ok := cgroupLimit("/proc/self/cgroup", "/sys/fs/cgroup"); ok {
		debug.SetMemoryLimit(n / 10 * 8) // the rest is for the program's text and the kernel's share
	}
}

// cgroupLimit returns the memory limit of this process's cgroup in bytes; ok is false
// if the cgroup has no limit.
func cgroupLimit(self, mount string) (limit int64, ok bool) {
	b, err := os.ReadFile(self)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		dir, file := mount, "memory.max"
		switch {
		case fields[0] == "0" && fields[1] == "":
		case strings.Contains(","+fields[1]+",", ",memory,"):
			dir, file = filepath.Join(mount, "memory"), "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path is valid only on the host, and the container's own cgroup
		// is mounted as the root.
		for _, sub := range []string{fields[2], "/"} {
			text, err := os.ReadFile(filepath.Join(dir, sub, file))
			if err != nil {
				continue
			}
			// Without a limit it is "max", or close to 2^63.
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && n < 1<<50 && (!ok || n < limit) {
				limit, ok = n, true
			}
			break
		}
	}
	return limit, ok
}
