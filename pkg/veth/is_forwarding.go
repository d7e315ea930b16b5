package veth

import "slices"

// IsForwarding reports whether the difference is a setting that RepairForwarding makes.
func (d Difference) IsForwarding() bool {
	return d.Kind == KindSetting && slices.Contains([]string{"forwarding", "force_forwarding"}, d.setting.name) ||
		d.Kind == KindSetting && d.setting.name == "accept_ra" && d.setting.value == 2
}
