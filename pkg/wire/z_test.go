package wire

import (
	"fmt"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestZ(t *testing.T) {
	n := newSpace(t)
	w := n.open()
	family := &nl.RtGenMsg{RtGenmsg: unix.RtGenmsg{Family: unix.AF_INET6}}
	m := newMessage(unix.RTM_GETNETCONF, 0, "x", family, uint32Attr(netconfIndex, netconfAll))
	fmt.Println(m.Serialize())
	fmt.Println(w.host.exchange(m), m.reply)
	d, err := w.host.find("lo")
	fmt.Println(len(d.conf6)/4, err)
}
