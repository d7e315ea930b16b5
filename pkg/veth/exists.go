package veth

import (
	"errors"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Exists reports whether the node has an interface of this name.
func (c *Conn) Exists(hostName string) (bool, error) {
	_, err := c.host.find(hostName)
	if errors.Is(err, errNoDevice) {
		return false, nil
	}
	return err == nil, err
}

// DefaultRoute is the destination of the default route of a family.
func DefaultRoute(f masq.Family) netip.Prefix { return defaultOf(f) }
