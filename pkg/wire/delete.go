package wire

import (
	"errors"
	"fmt"

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

// Owned lists the host's ends of all links of ours. It reads all links of the node.
func (w *Wire) Owned() ([]Owned, error) {
	all := newMessage(unix.RTM_GETLINK, 0, "list the node's interfaces", infoOf(0), withoutStats())
	var out []Owned
	var bad error
	err := w.host.dump(all, func(body []byte) {
		d, err := parseDevice(body)
		switch {
		case err != nil:
			bad = err
		case d.ours():
			out = append(out, Owned{d.name, d.alias})
		}
	})
	return out, errors.Join(err, bad)
}
