package veth

import (
	"errors"
	"fmt"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"golang.org/x/sys/unix"
)

// RepairForwarding enables forwarding as [Conn.Add] does, on the uplinks and on
// the host's ends for which selected returns true. It disables nothing. It returns the
// settings that it has made as sysctl(8) writes them, such as
// "net.ipv4.conf.eth0.forwarding=1", also with an error.
//
// All selected ends have to forward all families: if the families differ, each needs a
// call. selected is called only for ends that do not forward.
//
// If all forward, RepairForwarding reads 60 bytes for each interface of the node; with
// IPv6, unless the node forwards all of it, 1,200 bytes.
//
// If /proc/sys is not writable, IPv4 forwarding is set by netlink. The kernel does not
// disable large receive offload then: a network card that uses it loses packets (ethtool -K
// eth0 lro off). IPv6 settings cannot be made by netlink, and the error names the sysctl.
func (c *Conn) RepairForwarding(selected func(name string) bool, families []masq.Family) (repaired []string, err error) {
	return c.repairForwarding(c.node.within, selected, families)
}

// repairForwarding is RepairForwarding with a function that enters the node's network
// namespace. Tests pass one with a read-only /proc/sys.
func (c *Conn) repairForwarding(within func(func() error) error, selected func(name string) bool, families []masq.Family) (repaired []string, err error) {
	f6, err := c.forwarding6(families)
	errs := []error{err}
	if err != nil {
		families = slices.DeleteFunc(slices.Clone(families), func(f masq.Family) bool { return f == masq.IPv6 })
	}
	ends, err := c.missingForwardingOfEnds(selected, families, f6)
	errs = append(errs, err)
	uplinks, err := c.missingForwarding(families, f6)
	errs = append(errs, err)
	repaired, err = c.applySettings(within, slices.Concat(ends, uplinks))
	return repaired, errors.Join(append(errs, err)...)
}

// applySettings writes settings and returns the settings that it has written. If one fails, it
// still writes the others. A missing interface is no error.
func (c *Conn) applySettings(within func(func() error) error, settings []setting) (done []string, err error) {
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
			err = c.setByNetlink(s, err)
		}
		switch {
		case err == nil:
			done = append(done, s.String())
		case !errors.Is(err, errNoDevice): // not deleted meanwhile
			errs = append(errs, err)
		}
	}
	return done, errors.Join(errs...)
}

// writeEach writes all settings, and returns the error of each. If accept_ra of an uplink
// cannot be written, it does not enable forwarding of all interfaces.
func writeEach(settings []setting) []error {
	failed := make([]error, len(settings))
	var acceptRA error
	for i, s := range settings {
		if s.device == "all" && acceptRA != nil {
			failed[i] = fmt.Errorf("set %s: the node would lose its default route: %w", s, acceptRA)
			continue
		}
		failed[i] = s.write()
		if s.name == "accept_ra" {
			acceptRA = errors.Join(acceptRA, failed[i])
		}
	}
	return failed
}

// setByNetlink makes a setting that could not be written to /proc/sys. The error is
// errNoDevice if the interface does not exist.
func (c *Conn) setByNetlink(s setting, failed error) error {
	if i := slices.IndexFunc(allConf4, func(x conf4) bool { return x.name == s.name }); s.family == "ipv4" && i >= 0 {
		conf := allConf4[i]
		conf.value = s.value
		m := setLink("set "+s.String(), 0, s.device)
		m.setConf4(conf)
		err := c.host.exchange(m)
		if err == nil || errors.Is(err, errNoDevice) {
			return err
		}
		return errors.Join(failed, err)
	}
	if s.device != "all" {
		if _, err := c.host.find(s.device); errors.Is(err, errNoDevice) {
			return errNoDevice
		}
	}
	return fmt.Errorf("%w (run on the node: sysctl -w %s; or make /proc/sys/net writable for this program)", failed, s)
}

// missingForwardingOfEnds returns the settings that are needed to forward packets which
// enter by the host's ends of links.
func (c *Conn) missingForwardingOfEnds(selected func(name string) bool, families []masq.Family, f6 forwarding6) ([]setting, error) {
	v4 := slices.Contains(families, masq.IPv4)
	v6 := slices.Contains(families, masq.IPv6) && f6.perDevice && !f6.all
	var out []setting
	check := func(d device) {
		missing4, missing6 := v4 && !forwards4(d), v6 && len(d.conf6) > 0 && !f6.forwards(d)
		if !missing4 && !missing6 || !d.isManaged() || !selected(d.name) {
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
	case v6: // RTM_GETNETCONF does not have force_forwarding
		err = c.host.dump(listLinks(), func() { out = nil }, func(body []byte) {
			if d, err := parseDevice(body); err == nil {
				check(d)
			}
		})
	case v4:
		err = c.eachNotForwarding4(check)
	}
	return out, err
}

// eachNotForwarding4 calls f with each interface that does not forward IPv4.
func (c *Conn) eachNotForwarding4(f func(device)) error {
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
		if d.index != 0 { // not deleted meanwhile
			f(d)
		}
	}
	return nil
}
