package veth

import (
	"errors"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// ErrNotOurs is returned for a link that has the name of one of ours, and
// another identity.
var ErrNotOurs = errors.New("the interface is not this attachment's")

// Delete removes the link whose host's end has the name, with all that hangs on
// it. It is no error when there is none. A link of another identity stays, and
// is an error that wraps ErrNotOurs. A link that was renamed is found by its alias and
// group, which takes a list of all links where its name is not found.
func (c *Conn) Delete(hostName, identity string) error {
	return c.DeleteLink(masq.HostLink{Name: hostName, Alias: identity})
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
func (c *Conn) Owned() ([]Owned, error) {
	var out []Owned
	var bad error
	err := c.host.dump(listLinks(), func() { out, bad = nil, nil }, func(body []byte) {
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
