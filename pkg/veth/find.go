package veth

import (
	"errors"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// ErrAliasMismatch means that an interface has the name of an attachment's link and not
// its alias: another program, or another attachment, made it.
var ErrAliasMismatch = errors.New("the interface is not this attachment's")

// ManagedLink is a link that the plugin made, in its current state. Its group says
// whether the sources are checked.
type ManagedLink struct {
	masq.HostLink
	MTU int
	MAC string
}

// Find returns the current name of the host's end of a link, or "" if the link does not
// exist. It searches by name, then by index, which a renamed link keeps. It searches all
// links by alias if l has no index, or if another interface has the index now. If only an
// interface with the name and another alias exists, the error wraps ErrAliasMismatch.
func (c *Conn) Find(l masq.HostLink) (name string, err error) {
	d, err := c.findManaged(l)
	return d.name, err
}

// Describe returns the state of the link that Find finds.
func (c *Conn) Describe(l masq.HostLink) (m ManagedLink, found bool, err error) {
	d, err := c.findManaged(l)
	if err != nil || d.index == 0 {
		return ManagedLink{}, false, err
	}
	get := getByIndex(d.index)
	if err := c.host.exchange(get); err != nil {
		return ManagedLink{}, false, err
	}
	if d, err = get.device(); err != nil {
		return ManagedLink{}, false, err
	}
	return ManagedLink{d.hostLink(), d.mtu, d.mac.String()}, true, nil
}

// Delete deletes the link that Find finds, with the other end and all addresses and routes
// of both. A missing link is no error.
func (c *Conn) Delete(l masq.HostLink) error {
	d, err := c.findManaged(l)
	if err != nil || d.index == 0 {
		return err
	}
	return c.host.deleteLink(d.index, d.name)
}

// ManagedLinks returns the host's ends of all links that the plugin made. It reads all
// links of the node.
func (c *Conn) ManagedLinks() (links []masq.HostLink, err error) {
	err = c.eachLink(func() { links = nil }, func(d device) {
		if d.isManaged() {
			links = append(links, d.hostLink())
		}
	})
	return links, err
}

// HasLink reports whether the node has an interface of this index.
func (c *Conn) HasLink(index int) (bool, error) {
	err := c.host.exchange(getByIndex(index))
	if errors.Is(err, errNoDevice) {
		return false, nil
	}
	return err == nil, err
}

// Aliases returns the alias and the group of each interface that has an alias. It reads
// all links. If the kernel cannot list them completely, it returns an error: a link that is
// not listed may exist.
func (c *Conn) Aliases() (map[masq.HostLink]bool, error) {
	out := map[masq.HostLink]bool{}
	err := c.eachLink(func() { clear(out) }, func(d device) {
		if d.alias != "" {
			out[masq.HostLink{Alias: d.alias, Group: d.group}] = true
		}
	})
	return out, err
}

// findManaged is Find for callers that need the device. Its index is 0 if the link does
// not exist.
func (c *Conn) findManaged(l masq.HostLink) (device, error) {
	named, err := c.findNamed(l)
	mismatch := error(nil)
	switch {
	case errors.Is(err, ErrAliasMismatch):
		mismatch = err
	case err != nil || named.index != 0:
		return named, err
	}
	if l.Index > 0 {
		m := getByIndex(l.Index)
		err := c.host.exchange(m)
		if errors.Is(err, errNoDevice) {
			return device{}, mismatch
		}
		if err != nil {
			return device{}, err
		}
		d, err := m.device()
		if err != nil {
			return device{}, err
		}
		if d.isManaged() && d.alias == l.Alias {
			return d, nil
		}
	}
	var found device
	err = c.eachLink(func() { found = device{} }, func(d device) {
		if d.isManaged() && d.alias == l.Alias {
			found = device{index: d.index, name: d.name, alias: d.alias}
		}
	})
	if err != nil || found.index != 0 {
		return found, err
	}
	return device{}, mismatch
}

// findNamed searches by name only.
func (c *Conn) findNamed(l masq.HostLink) (device, error) {
	d, err := c.host.find(l.Name)
	if errors.Is(err, errNoDevice) {
		return device{}, nil
	}
	if err == nil {
		err = d.checkIdentity(l.Name, l.Alias)
	}
	if err != nil {
		return device{}, err
	}
	return d, nil
}

// checkIdentity returns ErrAliasMismatch if the interface has another alias, or has the
// name as an alternative name only (ip link property add altname).
func (d device) checkIdentity(name, alias string) error {
	switch {
	case d.name == name && d.alias == alias:
		return nil
	case d.alias == alias:
		return fmt.Errorf("interface %s has the name %s as an alternative name only: %w", d.name, name, ErrAliasMismatch)
	}
	return fmt.Errorf("interface %s has the alias %q instead of %q: %w", d.name, d.alias, alias, ErrAliasMismatch)
}

// eachLink calls each with all links of the node. If links were added or deleted
// meanwhile, it calls reset and reads all links again.
func (c *Conn) eachLink(reset func(), each func(device)) error {
	var malformed error
	err := c.host.dump(listLinks(), func() { reset(); malformed = nil }, func(body []byte) {
		d, err := parseDevice(body)
		if err != nil {
			malformed = err
			return
		}
		each(d)
	})
	return errors.Join(err, malformed)
}
