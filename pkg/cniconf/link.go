package cniconf

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// The limits of a link, in bytes. Source: RFC 791, section 3.2; RFC 8200,
// section 5; the largest packet of either family.
const (
	leastMTU4 = 68
	leastMTU6 = 1280
	mostMTU   = 65535
)

// mtu returns the size of the link's packets, 0 for that of the uplink.
func (r *reader) mtu(subnets []netip.Prefix) int {
	raw, given := r.value("mtu")
	if !given {
		return 0
	}
	least, why := leastMTU4, "the least that IPv4 needs"
	if slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return masq.FamilyOf(p.Addr()) == masq.IPv6 }) {
		least, why = leastMTU6, "the least that IPv6 needs"
	}
	mend := fmt.Sprintf("give 0 (that of the uplink) or %d-%d", least, mostMTU)
	n, ok := asWhole(raw)
	switch {
	case !ok && kindOf(raw) == isNumber:
		r.add("mtu", show(raw), "is not a whole number of bytes", mend)
	case !ok:
		r.wrongType("mtu", raw, mend)
	case n < 0:
		r.add("mtu", show(raw), "is negative", mend)
	case n > mostMTU:
		r.add("mtu", show(raw), fmt.Sprintf("is above %d", mostMTU), mend)
	case n > 0 && n < least:
		r.add("mtu", show(raw), fmt.Sprintf("is below %d, %s", least, why), mend)
	default:
		return n
	}
	return 0
}

// defaultStateDir is gone after a reboot, as the links and rules are.
const defaultStateDir = "/run/masq-cni"

func (r *reader) stateDir() string {
	const key, mend = "stateDir", "give an absolute path such as \"" + defaultStateDir + "\", or remove the key"
	dir, ok := r.text(key, mend)
	if !ok {
		return defaultStateDir
	}
	switch {
	case !isPrintable(dir):
		r.add(key, masq.Quote(dir), "has characters that cannot be printed", mend)
	case !path.IsAbs(dir):
		r.add(key, masq.Quote(dir), "is not an absolute path", mend)
	case dir == "/":
		r.add(key, masq.Quote(dir), "is the root, not a directory of our own", mend)
	case path.Clean(dir) != dir:
		mean := "write " + masq.Quote(path.Clean(dir))
		if slices.Contains(strings.Split(dir, "/"), "..") {
			mean = mend // what ".." was to lead to is not for us to guess
		}
		r.add(key, masq.Quote(dir), "is not a clean path", mean)
	}
	return dir
}

// backend refuses what other plugins can do here and this one cannot.
func (r *reader) backend() {
	const key, mend = "ipMasqBackend", "remove the key or set it to \"nftables\""
	b, ok := r.text(key, mend)
	if !ok || b == "" || b == "nftables" {
		return
	}
	wrong := "unknown backend: masq speaks nftables only"
	if b == "iptables" {
		wrong = "masq speaks nftables only"
	}
	r.add(key, masq.Quote(b), wrong, mend)
}
