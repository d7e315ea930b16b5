package e2e

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// untrackedTypes are the types of ICMPv6 that conntrack does not track, whatever their
// payload is: multicast listener discovery and neighbor discovery
// (noct_valid_new in net/netfilter/nf_conntrack_proto_icmpv6.c).
var untrackedTypes = []byte{130, 131, 132, 133, 134, 135, 136, 143}

// notrack has a rule of another program exclude datagrams to a port from conntrack.
func (w *world) notrack(port int) {
	w.t.Helper()
	w.nodeRun("nft", fmt.Sprintf("add table inet other; "+
		"add chain inet other untracked { type filter hook prerouting priority raw; }; "+
		"add rule inet other untracked udp dport %d notrack", port))
}

// TestUntrackedPackets: packets that conntrack does not track are not translated, so they
// would leave with the container's address. They are dropped and counted. Neighbor discovery
// on the container's link works.
func TestUntrackedPackets(t *testing.T) {
	const port = 4246
	for _, drop := range []bool{true, false} {
		for _, chained := range []bool{false, true} {
			t.Run(fmt.Sprintf("dropInvalid %v, chained %v", drop, chained), func(t *testing.T) {
				w := newWorld(t, nstest.Uplink{})
				w.notrack(port)
				list := w.conflist("1.1.0", w.masq().With(keys{"dropInvalid": drop}))
				if chained {
					ipam := w.masq()["ipam"].(keys).With(keys{"routes": []any{keys{"dst": "0.0.0.0/0"}, keys{"dst": "::/0"}}})
					list = w.conflist("1.1.0", w.masq().With(keys{"type": "ptp", "stateDir": nil, "ipam": ipam}), w.behind().With(keys{"dropInvalid": drop}))
				}
				c := w.attach("a", list)
				for i, p := range w.Plans() {
					own := c.addr(p.Server)
					var sent [][]byte
					sent = append(sent, nstest.UDPPacket(at(own, 700), at(p.Server, port), []byte("untracked")))
					if own.Is6() {
						for _, kind := range untrackedTypes {
							message := append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, "any payload, as of a tunnel"...)
							sent = append(sent, nstest.IPPacket(own, p.Server, unix.IPPROTO_ICMPV6, message, 2))
						}
						first, second := fragments(sent[1], 4713, 24)
						sent = append(sent, first, second)
					}
					private := assert.Must(w.Router.Capture("tonode", func(q nstest.Packet) bool { return q.Src == own && q.Dst == p.Server }))(t)
					passed := assert.Must(w.Router.Capture("tonode", func(q nstest.Packet) bool { return q.Src == p.Node && isPing(q) }))(t)
					for _, packet := range sent {
						assert.NoError(t, c.SendRaw(packet))
					}
					if !drop {
						if got, err := private.Wait(soon(t), func(all []nstest.Packet) bool { return len(all) == len(sent) }); err != nil {
							t.Errorf("%v left of %d: %v", got, len(sent), err)
						}
						continue
					}
					want := len(sent)
					if own.Is6() {
						want-- // the fragments are reassembled before
					}
					rule := []string{"invalid/drop4", "invalid/drop6"}[i]
					until(t, "the packets are counted", func() bool { return w.counted(rule) == want })
					c.run("ip", "neighbor", "flush", "dev", "eth0", "nud", "all")
					assert.Must(c.Ping(soon(t), p.Server, nstest.PingOptions{}))(t)
					assert.Must(passed.WaitFor(soon(t), func(nstest.Packet) bool { return true }))(t)
					if got := packets(t, private); len(got) != 0 {
						t.Errorf("left with the container's address: %v", got)
					}
				}
			})
		}
	}
}
