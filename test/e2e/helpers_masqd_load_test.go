package e2e

import (
	"bufio"
	"fmt"
	"net/netip"
	"net/textproto"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// residentMemory returns the memory of masqd in kB.
func (d *daemon) residentMemory() int {
	d.w.t.Helper()
	text := assert.Must(os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Process.Pid)))(d.w.t)
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		d.w.t.Fatalf("no VmRSS:\n%s", text)
	}
	return assert.Must(strconv.Atoi(string(m[1])))(d.w.t)
}

// control connects to the server and requests a stream at a port of its own.
func (p *pod) control(t testing.TB, server netip.Addr, port int) *craftedClient {
	t.Helper()
	c := &craftedClient{Conn: assert.Must(p.Dial(soon(t), "tcp", netip.AddrPort{}, at(server, 554)))(t), t: t}
	assert.NoError(t, c.SetDeadline(deadlineOf(t)))
	c.r = textproto.NewReader(bufio.NewReaderSize(c.Conn, 256))
	status, _, err := c.request("SETUP", fmt.Sprintf("RTP/AVP;unicast;client_port=%d-%d", port, port+1))
	if err != nil || status != 200 {
		t.Fatalf("SETUP of port %d: status %d, %v", port, status, err)
	}
	return c
}

// TestThousandControlConnections: 1,000 sessions with two ports each take less than 30 MB of
// masqd's memory. When they have ended, others can begin.
func TestThousandControlConnections(t *testing.T) {
	const pods, each, most = 20, 50, 30 << 10
	w := newWorld(t, nstest.Uplink{})
	d := w.launchLimited(1 << 14) // connections may take a quarter of the file descriptors
	list := w.conflist("1.1.0", w.helped())
	s := w.craftedServer(w.V4.Server)
	var all []*pod
	for i := range pods {
		all = append(all, w.attach(fmt.Sprint("p", i), list))
	}
	for _, p := range all {
		w.redirected(p)
	}
	open := func() (out []*craftedClient) {
		var mu sync.Mutex
		var opening sync.WaitGroup
		for _, p := range all {
			opening.Go(func() {
				for i := range each {
					c := p.control(t, w.V4.Server, 5000+2*i)
					mu.Lock()
					out = append(out, c)
					mu.Unlock()
				}
			})
		}
		opening.Wait()
		return out
	}
	before := d.residentMemory()
	clients := open()
	if got := d.metric(`masq_helper_connections{helper="rtsp"}`); got != strconv.Itoa(pods*each) {
		t.Errorf("%s connections", got)
	}
	if grown := d.residentMemory() - before; grown > most {
		t.Errorf("masqd's memory grew by %d kB from %d kB", grown, before)
	} else {
		t.Logf("masqd's memory grew by %d kB from %d kB", grown, before)
	}
	for _, c := range clients {
		if status, _, err := c.request("TEARDOWN", ""); status != 200 || err != nil {
			t.Fatalf("TEARDOWN: status %d, %v", status, err)
		}
		assert.NoError(t, c.Close())
	}
	until(t, "the connections have ended", func() bool {
		return s.connections() == 0 && d.metric(`masq_helper_connections{helper="rtsp"}`) == "0"
	})
	for _, c := range open() {
		assert.NoError(t, c.Close())
	}
}

// BenchmarkControlConnection measures a connection to a server and one request, one after
// another, by masqd and direct.
func BenchmarkControlConnection(b *testing.B) {
	w := newWorld(b, nstest.Uplink{})
	w.daemon()
	w.craftedServer(w.V4.Server)
	helped := w.attach("helped", w.conflist("1.1.0", w.helped()))
	direct := w.attach("direct", w.conflist("1.1.0", w.masq()))
	w.redirected(helped)
	for _, x := range []struct {
		name string
		pod  *pod
	}{{"direct", direct}, {"masqd", helped}} {
		b.Run(x.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				c := &craftedClient{Conn: assert.Must(x.pod.Dial(b.Context(), "tcp", netip.AddrPort{}, at(w.V4.Server, 554)))(b), t: b}
				c.r = textproto.NewReader(bufio.NewReader(c.Conn))
				if status, _, err := c.request("OPTIONS", ""); status != 200 || err != nil {
					b.Fatalf("status %d, %v", status, err)
				}
				took = append(took, time.Since(start))
				assert.NoError(b, c.Close())
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-median")
		})
	}
}

// BenchmarkAddDuringControlConnections measures ADD and DEL while masqd serves ten control
// connections a second, and while it serves none.
func BenchmarkAddDuringControlConnections(b *testing.B) {
	w := newWorld(b, nstest.Uplink{})
	w.daemon()
	w.craftedServer(w.V4.Server)
	p := w.attach("helped", w.conflist("1.1.0", w.helped()))
	w.redirected(p)
	list := w.conflist("1.1.0", w.helped())
	for _, rate := range []int{0, 10} {
		b.Run(fmt.Sprint(rate, " a second"), func(b *testing.B) {
			stop := make(chan struct{})
			var connecting sync.WaitGroup
			if rate > 0 {
				connecting.Go(func() {
					tick := time.NewTicker(time.Second / time.Duration(rate))
					defer tick.Stop()
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						case <-tick.C:
						}
						c := p.control(b, w.V4.Server, 5000+2*(i%100))
						_, _, _ = c.request("TEARDOWN", "")
						_ = c.Close()
					}
				})
			}
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				q := w.pod(fmt.Sprint("q", rate, "-", b.N, "-", i))
				start := time.Now()
				assert.NoError(b, q.tryAdd(list))
				took = append(took, time.Since(start))
				assert.NoError(b, q.tryDel(list))
			}
			close(stop)
			connecting.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-median-ADD")
			b.ReportMetric(float64(took[len(took)*9/10].Microseconds()), "µs-p90-ADD")
		})
	}
}
