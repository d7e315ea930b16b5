package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestInspectAmongInterfaces: masq-cni does not send requests to the kernel for each of the
// node's interfaces. To find the uplinks it sends some requests for 32 interfaces together.
func TestInspectAmongInterfaces(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.attachNamed("ns", "p", w.masq())
	commands := [][]string{{"inspect"}, {"inspect", "pod", "ns/p"}, {"who", "203.0.113.9:40000"}}
	before := map[int]int{}
	for i, args := range commands {
		before[i] = w.requests(args...)
	}
	var links bytes.Buffer
	for i := range 100 {
		fmt.Fprintf(&links, "link add a%d type veth peer name b%[1]d\naddr add 10.99.0.%[1]d/32 dev a%[1]d\n", i)
	}
	c := w.Node.Command(soon(t), "ip", "-batch", "-")
	c.Stdin = &links
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for i, args := range commands {
		if n := w.requests(args...); n > before[i]+40 || n == 0 {
			t.Errorf("%v sends %d requests among 200 more interfaces, %d without them", args, n, before[i])
		}
	}
}

// requests counts the messages that masq-cni sends to the kernel.
func (w *world) requests(args ...string) int {
	w.t.Helper()
	log := filepath.Join(w.dir, "requests")
	args = append([]string{"-f", "-o", log, "-yy", "-e", "trace=sendto,sendmsg,write", built("masq-cni"), "--state-dir", filepath.Join(w.dir, "state")}, args...)
	if out, err := w.Node.Command(soon(w.t), "strace", args...).CombinedOutput(); code(err) < 0 || code(err) > 1 {
		w.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return len(regexp.MustCompile(`(?m)^\d+ +(sendto|sendmsg|write)\(\d+<NETLINK`).FindAll(assert.Must(os.ReadFile(log))(w.t), -1))
}
