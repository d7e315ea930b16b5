package e2e

import (
	"net"
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/alg/pna"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestPNA requests a stream as RealAudio did. With the helper, the server reads a port of the
// node, and its datagrams to that port reach the container; datagrams of another host do not.
// TestRealAudio shows what happens without the helper.
func TestPNA(t *testing.T) {
	const port = 7070
	w := newWorld(t, nstest.Uplink{})
	w.daemon()
	p := w.attach("a", w.conflist("1.1.0", w.masq().With(keys{"helpers": keys{"pna": []uint16{}}})))
	w.redirects(p, "tcp", port)
	for _, plan := range w.Plans() {
		player := assert.Must(p.ListenUDP(at(p.addr(plan.Server), callbackPort)))(t)
		defer player.Close()
		// A version, the UDP port of the client as option 1, and the end of the options.
		message := []byte{'P', 'N', 'A', 0, 10, 0, 1, 0, 2, callbackPort >> 8, callbackPort & 0xff, 0, 0}
		got := w.receive(p, "tcp", at(plan.Server, port), message)
		hello, err := pna.Parse(got)
		if err != nil || len(hello.Ports) != 1 || len(got) != len(message) {
			t.Fatalf("the server received %q, %v", got, err)
		}
		named := hello.Ports[0].Number
		if named == callbackPort || named < 1024 {
			t.Errorf("the server was told port %d", named)
		}
		for _, from := range []struct {
			host *nstest.NS
			text string
		}{{w.Router, "of another host"}, {w.Server, "of the server"}} {
			c := assert.Must(from.host.Dial(soon(t), "udp", netip.AddrPort{}, at(plan.Node, named)))(t)
			defer c.Close()
			assert.Must(c.Write([]byte(from.text)))(t)
		}
		deadline, _ := soon(t).Deadline()
		assert.NoError(t, player.SetReadDeadline(deadline))
		buf := make([]byte, 100)
		n, from, err := player.ReadFromUDP(buf)
		if err != nil || string(buf[:n]) != "of the server" || !net.IP(plan.Server.AsSlice()).Equal(from.IP) {
			t.Errorf("the player received %q from %v, %v", buf[:n], from, err)
		}
	}
}
