package veth

import (
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// MissingForwarding returns the names of the host's ends that do not forward a family, of
// those for which selected returns true.
func (c *Conn) MissingForwarding(selected func(name string) bool, f masq.Family) (names []string, err error) {
	families := []masq.Family{f}
	f6, err := c.forwarding6(families)
	if err != nil {
		return nil, err
	}
	missing, err := c.missingForwardingOfEnds(selected, families, f6)
	for _, s := range missing {
		names = append(names, s.device)
	}
	return names, err
}

// IsForwarding reports whether the difference is a setting that RepairForwarding makes.
func (d Difference) IsForwarding() bool {
	return d.Kind == KindSetting && slices.Contains([]string{"forwarding", "force_forwarding"}, d.setting.name) ||
		d.Kind == KindSetting && d.setting.name == "accept_ra" && d.setting.value == 2
}
