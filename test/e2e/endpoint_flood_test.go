package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	// floodedMemory is the memory that masqd may use while its endpoint is flooded.
	floodedMemory = 40 << 20
	// floodFiles is the limit of open files of the flooded masqd. It has some 25 files open,
	// and repairs need some.
	floodFiles = 80
	nobody     = 65534
)

// flooder is a process that opens connections and keeps them open.
type flooder struct {
	*nstest.Command
	stdin io.Closer
	lines *bufio.Scanner
}

// floodEnv is the variable with the address, the number of connections and the text to
// send on each.
const floodEnv = "MASQ_TEST_FLOOD"

// TestFlooder is the program of a flooder, not a test: an unprivileged user opens
// connections and keeps them open until its input ends.
func TestFlooder(t *testing.T) {
	job := strings.SplitN(os.Getenv(floodEnv), " ", 3)
	if len(job) != 3 {
		return
	}
	assert.NoError(t, syscall.Setgid(nobody))
	assert.NoError(t, syscall.Setuid(nobody))
	var all []net.Conn
	for range assert.Must(strconv.Atoi(job[1]))(t) {
		c, err := net.Dial("tcp", job[0])
		if errors.Is(err, syscall.ECONNRESET) {
			continue // masqd closed it before Dial returned
		}
		assert.NoError(t, err)
		_, _ = io.WriteString(c, job[2]) // masqd may have closed it already
		all = append(all, c)
	}
	fmt.Println("flooded")
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, c := range all {
		_ = c.Close()
	}
}

// flood opens connections to masqd from the node and sends a text on each.
func (w *world) flood(connections int, text string) *flooder {
	w.t.Helper()
	f := &flooder{Command: w.Node.Command(w.t.Context(), assert.Must(os.Executable())(w.t), "-test.run=^TestFlooder$")}
	f.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", floodEnv, daemonAt, connections, text))
	stdin, stdout := assert.Must(f.StdinPipe())(w.t), assert.Must(f.StdoutPipe())(w.t)
	f.stdin, f.lines = stdin, bufio.NewScanner(stdout)
	assert.NoError(w.t, f.Start())
	return f
}

// wait waits until all connections have been opened.
func (f *flooder) wait(t *testing.T) {
	t.Helper()
	for f.lines.Scan() {
		if f.lines.Text() == "flooded" {
			return
		}
		t.Log(f.lines.Text())
	}
	t.Fatalf("the flooder ended: %v", f.Wait())
}

// end closes all connections.
func (f *flooder) end(t *testing.T) {
	t.Helper()
	_ = f.stdin.Close()
	assert.NoError(t, f.Wait())
}

// peak is masqd's peak memory in bytes.
func (d *daemon) peak() int {
	return assert.Must(strconv.Atoi(strings.TrimSuffix(d.status("VmHWM"), " kB")))(d.w.t) << 10
}

// files is the number of masqd's open files.
func (d *daemon) files() int {
	return len(assert.Must(os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.Process.Pid)))(d.w.t))
}

// An unprivileged user opens 20,000 connections to masqd and leaves them idle, and requests
// metrics on 2,000 more that it does not read. masqd has few descriptors. It still serves
// metrics and probes and repairs the rules, and stays within its memory.
func TestEndpointFlood(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.0.0", w.masq())
	a := w.attach("a", list)
	d := w.launchLimited(floodFiles)
	serves := func(when string) {
		t.Helper()
		for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
			until(t, path+" is served "+when, func() bool { code, _ := d.get(path); return code == http.StatusOK })
		}
	}
	repairs := func(when string) {
		t.Helper()
		w.nft("delete table inet masq")
		until(t, "the rules are repaired "+when, func() bool { return a.tryCheck(list) == nil })
	}
	closed := func() string { return d.metric("masq_http_connections_closed_total") }
	// The control: without the flood no connection is closed to make room.
	if n := closed(); n != "0" {
		t.Errorf("%s connections were closed before the flood", n)
	}

	var idle []*flooder
	for range 4 { // four processes, for the limit of files of each
		idle = append(idle, w.flood(5000, ""))
	}
	serves("while connections are opened")
	repairs("while connections are opened")
	for _, f := range idle {
		f.wait(t)
	}
	serves("beside idle connections")
	repairs("beside idle connections")
	const request = "GET /metrics HTTP/1.1\r\nHost: masqd\r\n\r\n"
	unread := w.flood(2000, request)
	repairs("while answers are not read")
	unread.wait(t)
	serves("beside unread answers")
	repairs("beside unread answers")
	if n := d.files(); n > floodFiles-20 {
		t.Errorf("masqd has %d files open of %d; repairs need some", n, floodFiles)
	}
	peak := d.peak()
	t.Logf("masqd took %d KiB at most", peak>>10)
	if peak > floodedMemory {
		t.Errorf("masqd took more than %d KiB", floodedMemory>>10)
	}
	until(t, "masqd has closed connections to make room", func() bool { n := closed(); return n != "" && n != "0" })
	for _, f := range append(idle, unread) {
		f.end(t)
	}
	serves("after the flood")
	d.end()
}

// launchLimited starts masqd with a limit of open files and waits until it is ready.
func (w *world) launchLimited(files int) *daemon {
	w.t.Helper()
	d := &daemon{w: w, log: filepath.Join(w.dir, "masqd.log")}
	out := assert.Must(os.Create(d.log))(w.t)
	defer func() { _ = out.Close() }()
	args := append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, files), built("masqd")}, w.served()...)
	d.Command = w.Node.Command(w.t.Context(), "sh", args...)
	d.Stderr = out
	assert.NoError(w.t, d.Start())
	until(w.t, "masqd is ready", func() bool { code, _ := d.get("/readyz"); return code == http.StatusOK })
	return d
}
