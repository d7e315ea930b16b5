// Package daemon is masqd without its command line. Run opens the kernel and the records,
// and runs the tasks of the daemon until its context ends or a task fails.
//
// Each Task has a name and a function, see Daemon.tasks. The sync loop is the task that
// changes the kernel: package reconcile. The other tasks watch the kernel, the records and
// the configuration, and request syncs; or they serve metrics, readiness and the NAT log.
//
// When the daemon ends, the rules stay. It needs no capability except CAP_NET_ADMIN. While
// nothing happens it makes no system call until the next resync or the next checks of
// doctor, unless it writes a NAT log or systemd's watchdog is enabled.
//
// To debug: masqd --log-level debug, --pprof, GET /readyz, and `masq-cni inspect drift`.
package daemon
