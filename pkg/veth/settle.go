package veth

import (
	"errors"
	"fmt"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// settleMax is far beyond what the kernel needs, which is microseconds.
const settleMax = 2 * time.Second

// settle returns when the link carries traffic. Two things the kernel leaves to
// its workers, and packets are lost until they are done:
//
//   - The container's end starts to send when a worker has seen that the host's
//     end is up (linkwatch). Looking the interface up does that work at once
//     from Linux 6.8 on (rtnl_getlink).
//   - An IPv6 address gets its solicited-node group and its local route from a
//     worker, also without duplicate address detection (addrconf_dad_work).
func (c *Conn) settle(container *socket, p Pair, l Link, index int) error {
	start := time.Now()
	for pause := 20 * time.Microsecond; ; pause *= 2 {
		pending, err := c.pending(container, p, l, index)
		if err != nil || pending == "" {
			return err
		}
		if time.Since(start) > settleMax {
			return fmt.Errorf("%s after %s", pending, settleMax)
		}
		// The kernel has no event for either. By the kernel's timer, since Go's
		// sleeps a millisecond at least.
		ts := unix.NsecToTimespec(int64(pause))
		if err := unix.Nanosleep(&ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for interface %s: %w", l.HostName, err)
		}
	}
}

// pending names something that the link still waits for, or nothing.
func (c *Conn) pending(container *socket, p Pair, l Link, index int) (string, error) {
	end := getByIndex(index)
	var local []*message
	if p.has(masq.IPv6) {
		local = append(local, lookUpRoute(masq.ContainerLinkLocal, index))
		for _, a := range p.Addresses {
			if a.Addr().Is6() {
				local = append(local, lookUpRoute(a.Addr(), index))
			}
		}
	}
	_ = container.exchange(append(local, end)...) // device and path read the errors
	if p.has(masq.IPv6) {
		own := lookUpRoute(l.Gateway6, l.HostIndex)
		_ = c.host.exchange(own) // path reads the error
		local = append(local, own)
	}
	d, err := end.device()
	if err != nil {
		return "", err
	}
	const operUp = 6 // IF_OPER_UP of linux/if.h
	if d.operState != operUp {
		return "interface " + d.name + " is not operational", nil
	}
	for _, m := range local {
		way, found, err := m.path()
		if err != nil {
			return "", err
		}
		if !found || way.kind != unix.RTN_LOCAL {
			return m.what + ": not local", nil
		}
	}
	return "", nil
}
