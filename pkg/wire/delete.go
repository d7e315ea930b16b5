package wire

import (
	"errors"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrNotOurs is returned for a link that has the name of one of ours, and
// another identity.
var ErrNotOurs = errors.New("the interface is not this attachment's")

// Delete removes the link whose host's end has the name, with all that hangs on
// it. It is no error when there is none. A link of another identity stays, and
// is an error that wraps ErrNotOurs.
func (w *Wire) Delete(hostName, identity string) error {
	d, err := w.host.find(hostName)
	if errors.Is(err, errNoDevice) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := d.belongsTo(hostName, identity); err != nil {
		return err
	}
	return w.host.deleteLink(d.index, hostName)
}

func (d device) belongsTo(name, identity string) error {
	if d.name != name || d.alias != identity {
		return fmt.Errorf("interface %s exists, with the alias %q instead of %q: %w", d.name, d.alias, identity, ErrNotOurs)
	}
	return nil
}

// Owned names the host's end of a link and the identity that it must have.
type Owned struct {
	HostName, Identity string
}

// doomedGroup gathers what DeleteMany deletes. Whatever is in it, is to go.
const doomedGroup = masq.CheckedGroup + 1<<31

// DeleteMany does what Delete does for several links. They wait for RCU
// together: 15 take as long as one.
func (w *Wire) DeleteMany(links []Owned) error {
	if len(links) == 0 {
		return nil
	}
	lookups := make([]*message, len(links))
	for i, l := range links {
		lookups[i] = getByName(l.HostName)
		lookups[i].allow = unix.ENODEV
	}
	_ = w.host.exchange(lookups...) // each is looked at below
	var (
		errs []error
		ms   []*message
	)
	for i, l := range links {
		if lookups[i].err == nil && lookups[i].reply == nil {
			continue // there is none
		}
		d, err := lookups[i].device()
		if err == nil {
			err = d.belongsTo(l.HostName, l.Identity)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m := setLink("change the group", d.index, d.name, uint32Attr(unix.IFLA_GROUP, doomedGroup))
		m.allow = unix.ENODEV
		ms = append(ms, m)
	}
	if len(ms) > 0 {
		m := newMessage(unix.RTM_DELLINK, 0, fmt.Sprintf("delete %d interfaces", len(ms)),
			nl.NewIfInfomsg(unix.AF_UNSPEC), uint32Attr(unix.IFLA_GROUP, doomedGroup))
		m.allow = unix.ENODEV
		errs = append(errs, w.host.exchange(append(ms, m)...))
	}
	return errors.Join(errs...)
}
