package veth

import (
	"errors"
	"fmt"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"golang.org/x/sys/unix"
)

// RepairForwarding turns on what [Conn.Add] would, where it is off: forwarding of the
// uplinks, and of the host's ends that are ours by their names. It returns what it has
// set as sysctl(8) writes it, such as "net.ipv4.conf.eth0.forwarding=1", also beside
// an error. Nothing is turned off. Only links that [Conn.Add] made are asked for.
//
// The families are those that all of our ends are to forward: where these differ, it
// takes a call for the ends of each family. It asks whether an end is ours of those
// alone that do not forward.
//
// With nothing to do it reads 60 bytes of each interface of the node, and with IPv6,
// unless the node forwards all of that, 1,200.
//
// Where /proc/sys cannot be written to, IPv4 forwarding is set by netlink. Large
// receive offload then stays as it is: with a card that has it on, packets are lost
// (ethtool -K eth0 lro off). For IPv6 there is no other way, and the error names the
// sysctl.
func (c *Conn) RepairForwarding(ours func(name string) bool, families []masq.Family) (mended []string, err error) {
	return c.mend(c.node.within, ours, families)
}

// mend is RepairForwarding. Tests have their own way to enter the namespace.
func (c *Conn) mend(within func(func() error) error, ours func(name string) bool, families []masq.Family) (mended []string, err error) {
	f6, err := c.forwarding6(families)
	errs := []error{err}
	if err != nil {
		families = slices.DeleteFunc(slices.Clone(families), func(f masq.Family) bool { return f == masq.IPv6 })
	}
	ends, err := c.unforwardedEnds(ours, families, f6)
	errs = append(errs, err)
	uplinks, err := c.unforwarded(families, f6)
	errs = append(errs, err)
	mended, err = c.set(within, slices.Concat(ends, uplinks))
	return mended, errors.Join(append(errs, err)...)
}

// set writes settings and returns the settings that it has written. If one fails, it
// still writes the others. A missing interface is no error.
func (c *Conn) set(within func(func() error) error, settings []setting) (done []string, err error) {
	if len(settings) == 0 {
		return nil, nil
	}
	var failed []error
	if err := within(func() error { failed = writeEach(settings); return nil }); err != nil {
		return nil, err
	}
	var errs []error
	for i, s := range settings {
		err := failed[i]
		if err != nil {
			err = c.instead(s, err)
		}
		switch {
		case err == nil:
			done = append(done, s.String())
		case !errors.Is(err, errNoDevice): // gone meanwhile
			errs = append(errs, err)
		}
	}
	return done, errors.Join(errs...)
}

// writeEach writes settings, past those that fail.
func writeEach(settings []setting) []error {
	failed := make([]error, len(settings))
	var deaf error
	for i, s := range settings {
		if s.device == "all" && deaf != nil {
			failed[i] = fmt.Errorf("set %s: it would cost the node its default route: %w", s, deaf)
			continue
		}
		failed[i] = s.write()
		if s.name == "accept_ra" {
			deaf = errors.Join(deaf, failed[i])
		}
	}
	return failed
}

// instead sets by netlink what could not be written to /proc/sys. It returns
// errNoDevice where the interface is gone.
func (conn *Conn) instead(s setting, failed error) error {
	if i := slices.IndexFunc(allConf4, func(c conf4) bool { return c.name == s.name }); s.family == "ipv4" && i >= 0 {
		c := allConf4[i]
		c.value = s.value
		m := setLink("set "+s.String(), 0, s.device)
		m.setConf4(c)
		err := conn.host.exchange(m)
		if err == nil || errors.Is(err, errNoDevice) {
			return err
		}
		return errors.Join(failed, err)
	}
	if s.device != "all" {
		if _, err := conn.host.find(s.device); errors.Is(err, errNoDevice) {
			return errNoDevice
		}
	}
	return fmt.Errorf("%w (run on the node: sysctl -w %s; or let this program write to /proc/sys/net)", failed, s)
}

// unforwardedEnds returns what has to be set so that what enters by the host's ends
// of links is forwarded.
func (c *Conn) unforwardedEnds(ours func(name string) bool, families []masq.Family, f6 forwarding6) ([]setting, error) {
	v4 := slices.Contains(families, masq.IPv4)
	v6 := slices.Contains(families, masq.IPv6) && f6.perDevice && !f6.all
	var out []setting
	look := func(d device) {
		missing4, missing6 := v4 && !forwards4(d), v6 && len(d.conf6) > 0 && !f6.forwards(d)
		if !missing4 && !missing6 || !d.isManaged() || !ours(d.name) {
			return
		}
		if missing4 {
			out = append(out, setting{"ipv4", d.name, "forwarding", 1})
		}
		if missing6 {
			out = append(out, setting{"ipv6", d.name, "force_forwarding", 1})
		}
	}
	var err error
	switch {
	case v6: // RTM_GETNETCONF says nothing of force_forwarding
		err = c.host.dump(listLinks(), func() { out = nil }, func(body []byte) {
			if d, err := parseDevice(body); err == nil {
				look(d)
			}
		})
	case v4:
		err = c.eachUnforwarded4(look)
	}
	return out, err
}

// eachUnforwarded4 hands over the interfaces that do not forward IPv4.
func (c *Conn) eachUnforwarded4(f func(device)) error {
	var indexes []int
	request := newMessage(unix.RTM_GETNETCONF, 0, "list the interfaces that do not forward IPv4", familyHeader{unix.AF_INET})
	err := c.host.dump(request, func() { indexes = nil }, func(body []byte) {
		var index, on uint32
		for kind, v := range netlink.All(netlink.After(body, unix.NLMSG_ALIGNTO)) {
			switch kind {
			case netconfIndex:
				index = readUint32(v)
			case netconfForwarding:
				on = readUint32(v)
			}
		}
		if on == 0 && index != netconfAll && index != netconfDefault {
			indexes = append(indexes, int(index))
		}
	})
	if err != nil {
		return err
	}
	devices, err := c.host.devicesAt(indexes)
	if err != nil {
		return err
	}
	for _, d := range devices {
		if d.index != 0 { // it still exists
			f(d)
		}
	}
	return nil
}
