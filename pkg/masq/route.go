package masq

import (
	"errors"
	"fmt"
	"net/netip"
)

// Route is one route of a container, from IPAM or a configuration. For zero attributes the
// kernel's defaults apply.
type Route struct {
	Dst netip.Prefix `json:"dst"`
	// GW is the configured next hop, if any. It has no effect: a link has two ends, and each
	// route leads to the host's end.
	GW netip.Addr `json:"gw,omitzero"`
	// The attributes of CNI 1.1.0: packet and segment size in bytes, metric, routing
	// table (0 is main) and scope (0 is global).
	MTU      int `json:"mtu,omitempty"`
	AdvMSS   int `json:"advmss,omitempty"`
	Priority int `json:"priority,omitempty"`
	Table    int `json:"table,omitempty"`
	Scope    int `json:"scope,omitempty"`
}

// Limits of the kernel: fib_metrics in net/ipv4/metrics.c clamps larger values, and the
// scope of a route through a gateway is below the scope of the gateway's link
// (fib_check_nh_v4_gw in net/ipv4/fib_semantics.c).
const (
	maxRouteMTU = 65535 - 15
	maxAdvMSS   = 65535 - 40
	scopeLink   = 253
	uint32Max   = 1<<32 - 1
)

// Validate reports all attributes that are invalid for a link with this MTU in bytes, each
// with its key.
func (r Route) Validate(linkMTU int) error {
	var errs []error
	fault := func(key string, value int, format string, a ...any) {
		errs = append(errs, fmt.Errorf("route to %s: %s: %d %s", r.Dst, key, value, fmt.Sprintf(format, a...)))
	}
	least := 68
	if FamilyOf(r.Dst.Addr()) == IPv6 {
		least = 1280
	}
	if r.MTU != 0 && (r.MTU < least || r.MTU > min(linkMTU, maxRouteMTU)) {
		fault("mtu", r.MTU, "is not within %d-%d, the MTU of the link", least, min(linkMTU, maxRouteMTU))
	}
	if r.AdvMSS < 0 || r.AdvMSS > maxAdvMSS {
		fault("advmss", r.AdvMSS, "is not within 1-%d", maxAdvMSS)
	}
	if r.Priority < 0 || r.Priority > uint32Max {
		fault("priority", r.Priority, "is not within 0-%d", uint32Max)
	}
	if r.Table < 0 || r.Table > uint32Max {
		fault("table", r.Table, "is not within 0-%d", uint32Max)
	}
	switch {
	case r.Scope == 0:
	case FamilyOf(r.Dst.Addr()) == IPv6:
		fault("scope", r.Scope, "has no effect on an IPv6 route; leave it out")
	case r.Scope < 0 || r.Scope >= scopeLink:
		fault("scope", r.Scope, "is not within 0-%d: every route of this link leads through the gateway", scopeLink-1)
	}
	return errors.Join(errs...)
}
