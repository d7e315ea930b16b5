package veth

import (
	"errors"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Find looks up the host's end of a link that the plugin made: by its name, by its
// index, which a renamed link keeps, and if the index is not known, by its alias among
// all links. It returns the current name of the link, or "" if there is no such link. A
// link with the same name and another alias is an error that wraps ErrNotOurs, unless
// the link is found by another name.
func (c *Conn) Find(l masq.HostLink) (name string, err error) {
	d, err := c.findOwn(l)
	return d.name, err
}

// DeleteLink removes the link that Find finds. A missing link is no error.
func (c *Conn) DeleteLink(l masq.HostLink) error {
	d, err := c.findOwn(l)
	if err != nil || d.index == 0 {
		return err
	}
	return c.host.deleteLink(d.index, d.name)
}

// findOwn is Find for callers that need the device. Its index is 0 if there is no such
// link.
func (c *Conn) findOwn(l masq.HostLink) (device, error) {
	named, err := c.findNamed(l)
	notOurs := error(nil)
	switch {
	case errors.Is(err, ErrNotOurs):
		notOurs = err
	case err != nil || named.index != 0:
		return named, err
	}
	if l.Index > 0 {
		m := getByIndex(l.Index)
		err := c.host.exchange(m)
		if errors.Is(err, errNoDevice) {
			return device{}, notOurs
		}
		if err != nil {
			return device{}, err
		}
		d, err := m.device()
		if err != nil {
			return device{}, err
		}
		if d.ours() && d.alias == l.Alias {
			return d, nil
		}
	}
	var found device
	err = c.eachLink(func() { found = device{} }, func(d device) {
		if d.ours() && d.alias == l.Alias {
			found = device{index: d.index, name: d.name, alias: d.alias}
		}
	})
	if err != nil || found.index != 0 {
		return found, err
	}
	return device{}, notOurs
}

// findNamed looks only for the name.
func (c *Conn) findNamed(l masq.HostLink) (device, error) {
	d, err := c.host.find(l.Name)
	if errors.Is(err, errNoDevice) {
		return device{}, nil
	}
	if err == nil {
		err = d.belongsTo(l.Name, l.Alias)
	}
	if err != nil {
		return device{}, err
	}
	return d, nil
}

// Ours is a link that the plugin made, in its current state. Its group says whether the
// sources are checked.
type Ours struct {
	masq.HostLink
	MTU int
	MAC string
}

// Describe returns the link of ours with an identity; found is false where there is
// none.
func (c *Conn) Describe(l masq.HostLink) (o Ours, found bool, err error) {
	d, err := c.findOwn(l)
	if err != nil || d.index == 0 {
		return Ours{}, false, err
	}
	m := getByIndex(d.index)
	if err := c.host.exchange(m); err != nil {
		return Ours{}, false, err
	}
	if d, err = m.device(); err != nil {
		return Ours{}, false, err
	}
	return Ours{masq.HostLink{Index: d.index, Name: d.name, Alias: d.alias, Group: d.group}, d.mtu, d.mac.String()}, true, nil
}
