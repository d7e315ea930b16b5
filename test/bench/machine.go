package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine describes the machine, and its load during the run.
type machine struct {
	start time.Time
	idle  time.Duration // idle time of all processors since boot
	own   time.Duration // processor time of this process and its children
}

func observe() (machine, error) {
	idle, err := idleTime()
	if err != nil {
		return machine{}, err
	}
	own, err := ownTime()
	return machine{time.Now(), idle, own}, err
}

// write prints a line about the machine, and one about the run that began with m.
func (m machine) write(w io.Writer, masq string) error {
	now, err := observe()
	if err != nil {
		return err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	took := now.start.Sub(m.start)
	total := took * time.Duration(runtime.NumCPU())
	_, err = fmt.Fprintf(w, "%s, %d cores, Linux %s, %s; ptp and host-local 1.9.1, masq %s.\n"+
		"%s, %d min %d s. The processors were %.0f %% busy with these benchmarks and %.0f %% with other tasks, including the kernel.\n",
		processor(), runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), runtime.Version(), masq,
		m.start.UTC().Format("2006-01-02 15:04 UTC"), int(took.Minutes()), int(took.Seconds())%60,
		100*float64(now.own-m.own)/float64(total),
		100*max(0, float64(total-(now.idle-m.idle)-(now.own-m.own)))/float64(total))
	return err
}

func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// calm waits until the kernel has completed its work after namespaces were deleted: until a second in
// which processors are almost idle. It gives up after a minute if other programs keep them busy. The
// report says how busy they were.
func calm(ctx context.Context) error {
	const second = time.Second
	for range 60 {
		before, err := idleTime()
		if err != nil {
			return err
		}
		if err := rest(ctx, second); err != nil {
			return err
		}
		after, err := idleTime()
		if err != nil || after-before > second*time.Duration(runtime.NumCPU())*95/100 {
			return err
		}
	}
	return nil
}

// idleTime returns the idle time of all processors since boot, in ticks of 10 ms (proc_stat(5)). The
// other fields there are sampled: each tick is charged to what runs at that moment.
func idleTime() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	var user, nice, system, idle, iowait int64
	_, err = fmt.Sscanf(string(b), "cpu %d %d %d %d %d", &user, &nice, &system, &idle, &iowait)
	return time.Duration(idle+iowait) * 10 * time.Millisecond, err
}

func ownTime() (time.Duration, error) {
	own, err := usage(unix.RUSAGE_SELF)
	if err != nil {
		return 0, err
	}
	children, err := childTime()
	return own + children, err
}

// childTime returns the processor time of all processes that were waited for.
func childTime() (time.Duration, error) { return usage(unix.RUSAGE_CHILDREN) }

func usage(who int) (time.Duration, error) {
	var r unix.Rusage
	if err := unix.Getrusage(who, &r); err != nil {
		return 0, err
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}
