package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/alg/pna"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestPNAByMasqdDeleted deletes an attachment while a server sends to the port that it was told:
// the flow is deleted, so that the next container with the address does not receive the stream.
func TestPNAByMasqdDeleted(t *testing.T) {
	const port, playerPort = 7070, 6970
	w := newWorld(t, nstest.Uplink{})
	w.daemon()
	list := w.conflist("1.1.0", w.helped())
	p := w.attach("a", list)
	w.attach("b", list) // without an attachment, the node has no rules, and tracks no flows
	w.redirected(p)
	var flows []func() bool // renew a flow, and report whether the node has it
	for _, plan := range w.Plans() {
		player := assert.Must(p.ListenUDP(at(p.addr(plan.Server), playerPort)))(t)
		defer player.Close()
		assert.NoError(t, player.SetReadDeadline(deadlineOf(t)))
		message := []byte{'P', 'N', 'A', 0, 10, 0, 1, 0, 2, playerPort >> 8, playerPort & 0xff, 0, 0}
		hello := assert.Must(pna.Parse(w.receive(p, "tcp", at(plan.Server, port), message)))(t)
		stream := assert.Must(w.Server.Dial(soon(t), "udp", netip.AddrPort{}, at(plan.Node, hello.Ports[0].Number)))(t)
		defer stream.Close()
		assert.Must(stream.Write([]byte("media")))(t)
		assert.Must(player.Read(make([]byte, 100)))(t)
		family := map[bool]string{true: "ipv4", false: "ipv6"}[plan.Node.Is4()]
		flow := fmt.Sprintf("src=%s dst=%s sport=%d", p.addr(plan.Server), plan.Server, playerPort)
		flows = append(flows, func() bool {
			_, _ = stream.Write([]byte("media"))
			return strings.Contains(w.nodeRun("conntrack", "-L", "-f", family, "-p", "udp"), flow)
		})
	}
	for _, hasFlow := range flows {
		if !hasFlow() {
			t.Fatal("the node has no flow of the stream")
		}
	}
	p.detach()
	for _, hasFlow := range flows {
		until(t, "the node has no flow of the stream", func() bool { return !hasFlow() })
	}
}
