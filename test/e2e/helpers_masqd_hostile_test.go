package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestRTSPByMasqdHostile: a container takes all that it can, and names addresses and ports
// that are not its own. Nothing is opened for it, and another container is served.
func TestRTSPByMasqdHostile(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	d := w.launchLimited(1 << 14)
	list := w.conflist("1.1.0", w.helped())
	hostile, other := w.attach("hostile", list), w.attach("other", list)
	w.redirected(hostile)
	w.redirected(other)
	s := w.craftedServer(w.V4.Server)
	refused := func(reason session.Reason) int {
		n, err := strconv.Atoi(d.metric(fmt.Sprintf(`masq_helper_refused_total{helper="rtsp",reason="%s"}`, reason)))
		assert.NoError(t, err)
		return n
	}
	c := hostile.rtsp(t, w.V4.Server)
	for i, transport := range []string{
		"RTP/AVP;unicast;destination=198.51.100.99;client_port=5000-5001",
		"RTP/AVP;unicast;client_port=0-1",
		"RTP/AVP;unicast;client_port=5000-5400",
		"RTP/AVP;unicast;client_port=99999-99999",
	} {
		if status, _, err := c.request("SETUP", transport); err != nil || status != 461 {
			t.Errorf("%s: status %d, %v", transport, status, err)
		}
		if n := refused(session.ForeignAddress) + refused(session.InvalidPorts); n != i+1 {
			t.Errorf("%s: %d refusals are counted", transport, n)
		}
	}
	if got := s.lastSetup(); got != "" {
		t.Errorf("the server got %q", got)
	}
	// A header without an end.
	endless := assert.Must(hostile.Dial(soon(t), "tcp", netip.AddrPort{}, at(w.V4.Server, 554)))(t)
	defer endless.Close()
	_, _ = io.WriteString(endless, "SETUP rtsp://server/a RTSP/1.0\r\n"+strings.Repeat("X: y\r\n", 10_000))

	var all []net.Conn
	for range session.MaxAttachmentConnections + 50 {
		x, err := hostile.Dial(soon(t), "tcp", netip.AddrPort{}, at(w.V4.Server, 554))
		if errors.Is(err, unix.ECONNRESET) {
			continue // the reset of a refused connection can come before connect returns
		}
		assert.NoError(t, err)
		all = append(all, x)
	}
	until(t, "connections beyond the limit are refused", func() bool { return refused(session.LimitExceeded) >= 50 })
	helped := other.rtsp(t, w.V4.Server)
	helped.setup()
	s.streams(helped, w.V4.Node, s.toldPorts())
	for _, x := range slices.Concat(all, []net.Conn{c, endless}) {
		_ = x.Close()
	}
	until(t, "the connections of the container have ended", func() bool { return d.metric(`masq_helper_connections{helper="rtsp"}`) == "1" })
	if got := d.metric(`masq_helper_opened_total{helper="rtsp"}`); got != "2" {
		t.Errorf("%s ports were opened", got)
	}
	if list := w.nodeRun("conntrack", "-L", "-p", "udp", "--orig-src", hostile.addr(w.V4.Node).String()); strings.Contains(list, "dport") {
		t.Errorf("flows of the container:\n%s", list)
	}
}
