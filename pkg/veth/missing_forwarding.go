package veth

import (
	"errors"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// MissingForwarding returns the settings that [Conn.RepairForwarding] would make, for
// uplinks and for the host's ends for which selected returns true. It changes nothing.
func (c *Conn) MissingForwarding(selected func(name string) bool, families []masq.Family) ([]Difference, error) {
	f6, err := c.forwarding6(families)
	if err != nil {
		return nil, err
	}
	ends, errEnds := c.missingForwardingOfEnds(selected, families, f6)
	uplinks, errUplinks := c.missingForwarding(families, f6)
	var out []Difference
	for _, s := range slices.Concat(ends, uplinks) {
		out = append(out, s.difference(s.oppositeValue()))
	}
	return out, errors.Join(errEnds, errUplinks)
}

// IsForwarding reports whether the difference is a setting that MissingForwarding returns.
func (d Difference) IsForwarding() bool {
	return d.Kind == KindSetting && slices.Contains([]string{"forwarding", "force_forwarding"}, d.setting.name) ||
		d.Kind == KindSetting && d.setting.name == "accept_ra" && d.setting.value == 2
}

// Sysctl returns the path of a setting below /proc/sys, for a KindSetting, and the value
// that it needs.
func (d Difference) Sysctl() (key, value string) {
	s := d.setting
	return "net/" + s.family + "/conf/" + s.device + "/" + s.name, d.Want
}
