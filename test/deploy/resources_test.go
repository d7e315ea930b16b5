package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	core "k8s.io/api/core/v1"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// The containers' requests cover their measured needs. The kubelet runs at most 110 pods on
// a node by default. Here 250 attachments exist, metrics are scraped twice a second, and a
// NAT log records all flows that one thread can begin.
func TestMemory(t *testing.T) {
	n := newNode(t)
	prom := scrapes(t, n.Node, served)
	echo := assert.Must(n.Server.ServeUDP(netip.AddrPortFrom(n.V4.Server, 7)))(t)
	var pod *nstest.NS
	for i := range 250 {
		pod = n.attach(fmt.Sprintf("p%d", i), keys{})
	}
	until(t, nil, func() string {
		if prom.answers("masq_attachments == 250") {
			return ""
		}
		return "250 attachments"
	})
	calm := resident(t, n.masqd, "VmRSS")
	// Scrapes without pauses: a processor that was idle is slower at first, sometimes many
	// times. The least of the batches counts: other load, and syncs of masqd after the ADDs,
	// only add to the others. On a busy machine it takes more batches.
	const scraped = 20
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return n.Node.Dial(ctx, network, netip.AddrPort{}, netip.MustParseAddrPort(address))
	}}}
	defer client.CloseIdleConnections()
	requested := daemonSet(t, helm(t)).Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
	each := math.Inf(1) // milliseconds
	until(t, nil, func() string {
		used := cpuTime(t, n.masqd)
		for range scraped {
			answer := assert.Must(client.Get("http://" + served + "/metrics"))(t)
			assert.Must(io.Copy(io.Discard, answer.Body))(t)
			assert.NoError(t, answer.Body.Close())
		}
		each = min(each, 1000*(cpuTime(t, n.masqd)-used).Seconds()/scraped)
		if 2*each <= float64(requested) {
			return ""
		}
		return fmt.Sprintf("a processor time for two scrapes within the request of %d m: the least for one is %.1f ms", requested, each)
	})
	t.Logf("masqd uses %.1f ms of processor time per scrape", each)
	const flows = 20000
	var logged float64
	until(t, func() {
		for range 2000 {
			c := assert.Must(pod.DialUDP(netip.AddrPort{}, echo.Addr()))(t)
			assert.Must(c.Write([]byte("hello")))(t)
			assert.NoError(t, c.Close())
		}
	}, func() string {
		for _, s := range prom.ask("masq_nat_log_records_total + masq_nat_log_lost_total") {
			logged = s.F
		}
		if logged >= flows {
			return ""
		}
		return fmt.Sprintf("NAT log of %d flows", flows)
	})
	isEnough(t, "masqd", calm, resident(t, n.masqd, "VmHWM"))
}

// install --watch is idle most of the time. Here the network's file is written again each
// time that masq has been inserted.
func TestMemoryOfInstall(t *testing.T) {
	dir := t.TempDir()
	ns := assert.Must(nstest.New(t).Namespace("install"))(t)
	file := filepath.Join(dir, "10-net.conflist")
	const theirs = `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"ptp","ipam":{"type":"host-local"}}]}`
	assert.NoError(t, os.WriteFile(file, []byte(theirs), 0o600))
	c := ns.Command(context.WithoutCancel(t.Context()), program("masq-cni"), "install", "--watch", "--ready-url=", "--bin-dir="+filepath.Join(dir, "bin"), "--conf-dir="+dir, "--plugin="+program("masq"))
	c.Stderr = os.Stderr
	assert.NoError(t, c.Start())
	has := func() string {
		if regexp.MustCompile(`"type":\s*"masq"`).Match(assert.Must(os.ReadFile(file))(t)) {
			return ""
		}
		return "masq in " + file
	}
	until(t, nil, has)
	calm := resident(t, c, "VmRSS")
	for range 3 {
		assert.NoError(t, os.WriteFile(file, []byte(theirs), 0o600))
		until(t, nil, has)
	}
	isEnough(t, "install", calm, resident(t, c, "VmHWM"))
}

// cpuTime returns the processor time of a program's threads from the scheduler, in
// nanoseconds. process_cpu_seconds_total counts ticks of 10 ms: a thread that a timer wakes
// at a tick is charged a whole tick.
func cpuTime(t *testing.T, c *nstest.Command) (sum time.Duration) {
	t.Helper()
	for _, path := range assert.Must(filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", c.Process.Pid)))(t) {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		assert.NoError(t, err)
		ran, _, _ := strings.Cut(string(text), " ")
		sum += time.Duration(assert.Must(strconv.ParseInt(ran, 10, 64))(t))
	}
	return sum
}

// resident returns a memory value from /proc/PID/status in bytes.
func resident(t *testing.T, c *nstest.Command, line string) int64 {
	t.Helper()
	status := assert.Must(os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid)))(t)
	m := regexp.MustCompile(line + `:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("missing %s in\n%s", line, status)
	}
	return assert.Must(strconv.ParseInt(string(m[1]), 10, 64))(t) << 10
}

// isEnough compares a container's memory request and limit with its use at rest and its
// peak.
func isEnough(t *testing.T, container string, calm, most int64) {
	t.Helper()
	all := daemonSet(t, helm(t)).Spec.Template.Spec.Containers
	r := all[slices.IndexFunc(all, func(c core.Container) bool { return c.Name == container })].Resources
	requested, limit := r.Requests.Memory().Value(), r.Limits.Memory().Value()
	t.Logf("%s has %.1f MiB at rest, %.1f MiB at its peak; its request is %s, its limit %s", container,
		float64(calm)/(1<<20), float64(most)/(1<<20), r.Requests.Memory(), r.Limits.Memory())
	if calm > requested || 2*most > limit {
		t.Error("the request is too small, or less than half of the limit is free")
	}
}
