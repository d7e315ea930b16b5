package veth

import (
	"errors"
	"fmt"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// readyTimeout is the time after which Add fails. The kernel needs microseconds.
const readyTimeout = 2 * time.Second

// waitUntilReady returns when the link carries traffic. Until then packets are lost. Two
// tasks of the kernel's workers have to end:
//
//   - The container's end starts to send after a worker has noticed that the host's end is
//     up (linkwatch). From Linux 6.8, a lookup of the interface does that at once
//     (rtnl_getlink).
//   - A worker adds the solicited-node group and the local route of an IPv6 address, also
//     without duplicate address detection (addrconf_dad_work).
func (c *Conn) waitUntilReady(container *socket, p Pair, l Link, index int) error {
	start := time.Now()
	for pause := 20 * time.Microsecond; ; pause *= 2 {
		pending, err := c.pending(container, p, l, index)
		if err != nil || pending == "" {
			return err
		}
		if time.Since(start) > readyTimeout {
			return fmt.Errorf("%s after %s", pending, readyTimeout)
		}
		// The kernel sends no notification of either. time.Sleep would take a millisecond or
		// more.
		ts := unix.NsecToTimespec(int64(pause))
		if err := unix.Nanosleep(&ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for interface %s: %w", l.HostName, err)
		}
	}
}

// pending describes what is not ready, or returns "".
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
