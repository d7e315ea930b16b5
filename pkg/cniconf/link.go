package cniconf

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// The limits of an MTU, in bytes. Sources: RFC 791, section 3.2; RFC 8200, section 5; the
// length of the largest packet of either family.
const (
	minMTU4 = 68
	minMTU6 = 1280
	maxMTU  = 65535
)

// mtu reads the MTU of the link. 0 is the MTU of the uplink.
func (r *reader) mtu(subnets []netip.Prefix) int {
	const key = "mtu"
	v, given := r.value(key)
	if !given {
		return 0
	}
	least, family := minMTU4, masq.IPv4
	if hasFamily(subnets, masq.IPv6) {
		least, family = minMTU6, masq.IPv6
	}
	remedy := fmt.Sprintf("give 0 (the MTU of the uplink) or %d-%d", least, maxMTU)
	n, ok := v.Whole()
	switch {
	case v.Kind != conftree.Number:
		r.WrongType(key, v, remedy)
	case !ok:
		r.Fault(v.Place, key, v.Show(), "is not a whole number of bytes", remedy)
	case n < 0:
		r.Fault(v.Place, key, v.Show(), "is negative", remedy)
	case n > maxMTU:
		r.Fault(v.Place, key, v.Show(), fmt.Sprintf("is above %d", maxMTU), remedy)
	case n > 0 && n < least:
		r.Fault(v.Place, key, v.Show(), fmt.Sprintf("is below %d, the minimum of IPv%s", least, family), remedy)
	default:
		return n
	}
	return 0
}

// mtuProbing reads whether TCP in the container probes the path MTU. The setting belongs to
// the container's network namespace, which in chained mode the previous plugin sets up.
func (r *reader) mtuProbing() bool {
	const key = "mtuProbing"
	on := r.boolean(key, false)
	if _, main := r.value("ipam"); on && !main {
		v, _ := r.value(key)
		r.Fault(v.Place, key, v.Show(), "needs ipam: masq makes no link here, and changes no setting of the container",
			"remove the key, and add the plugin tuning to the chain with \"sysctl\": {\"net.ipv4.tcp_mtu_probing\": \"1\"}")
		return false
	}
	return on
}

// defaultStateDir is lost with a reboot, as links and rules are.
const defaultStateDir = "/run/masq-cni"

func (r *reader) stateDir() string {
	const key, remedy = "stateDir", "give an absolute path such as \"" + defaultStateDir + "\", or remove the key"
	dir, place, ok := r.text(key, remedy)
	if !ok {
		return defaultStateDir
	}
	fault := func(wrong, remedy string) { r.Fault(place, key, masq.Quote(dir), wrong, remedy) }
	switch {
	case !isPrintable(dir):
		fault(unprintable, remedy)
	case !path.IsAbs(dir):
		fault("is not an absolute path", remedy)
	case dir == "/":
		fault("is the root directory", remedy)
	case path.Clean(dir) != dir && slices.Contains(strings.Split(dir, "/"), ".."):
		fault("is not a clean path", remedy) // the meaning of ".." depends on symbolic links
	case path.Clean(dir) != dir:
		fault("is not a clean path", "write "+masq.Quote(path.Clean(dir)))
	}
	return dir
}

// backend refuses backends that other plugins have and masq does not.
func (r *reader) backend() {
	const key, remedy = "ipMasqBackend", "remove the key, or give \"nftables\""
	b, place, ok := r.text(key, remedy)
	if ok && b != "" && b != "nftables" {
		r.Fault(place, key, masq.Quote(b), "is not supported: masq uses nftables only", remedy)
	}
}
