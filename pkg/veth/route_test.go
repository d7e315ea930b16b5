package veth

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The attributes of a route are what the kernel has, as another library reads it, and
// Compare finds each that is changed.
func TestRouteAttributes(t *testing.T) {
	for _, c := range []struct {
		name  string
		route masq.Route
		has   func(netlink.Route) bool
		spoil func(*netlink.Route)
		want  string // what Compare says then
	}{
		{
			"mtu",
			masq.Route{MTU: 1400},
			func(r netlink.Route) bool { return r.MTU == 1400 },
			func(r *netlink.Route) { r.MTU = 1300 }, "mtu 1300 advmss 0 scope 0 instead of mtu 1400",
		},
		{
			"advmss",
			masq.Route{AdvMSS: 1000},
			func(r netlink.Route) bool { return r.AdvMSS == 1000 },
			func(r *netlink.Route) { r.AdvMSS = 0 }, "advmss 0 scope 0 instead of mtu 0 advmss 1000",
		},
		{
			"priority",
			masq.Route{Priority: 77},
			func(r netlink.Route) bool { return r.Priority == 77 },
			func(r *netlink.Route) { r.Priority = 78 }, "metric 77 is missing",
		},
		{
			"table",
			masq.Route{Table: 1000},
			func(r netlink.Route) bool { return r.Table == 1000 },
			func(r *netlink.Route) { r.Table = 1001 }, "table 1000 is missing",
		},
		{
			"the main table by its number",
			masq.Route{Table: 254},
			func(r netlink.Route) bool { return r.Table == 254 },
			func(r *netlink.Route) { r.Table = 1001 }, "is missing",
		},
		{
			"scope",
			masq.Route{Scope: 200},
			func(r netlink.Route) bool { return r.Scope == 200 || r.Dst.IP.To4() == nil },
			func(r *netlink.Route) { r.Scope = 0 }, "scope 0 instead of mtu 0 advmss 0 scope 200",
		},
		{"none", masq.Route{}, func(r netlink.Route) bool {
			return r.MTU == 0 && r.AdvMSS == 0 && r.Table == 254 && (r.Priority == 0 || r.Priority == 1024) && r.Scope == 0
		}, func(r *netlink.Route) { r.MTU = 1300 }, "mtu 1300 advmss 0 scope 0 instead of mtu 0"},
		{"all", masq.Route{MTU: 1400, AdvMSS: 1000, Priority: 77, Table: 1000}, func(r netlink.Route) bool {
			return r.MTU == 1400 && r.AdvMSS == 1000 && r.Priority == 77 && r.Table == 1000
		}, func(r *netlink.Route) { r.AdvMSS = 999 }, "advmss 999 scope 0 instead of mtu 1400 advmss 1000"},
	} {
		for _, dst := range []string{"192.0.2.0/24", "0.0.0.0/0", "2001:db8::/64", "::/0"} {
			if c.name == "scope" && netip.MustParsePrefix(dst).Addr().Is6() {
				continue // IPv6 routes have no scope: TestAddRefusesRouteAttributes
			}
			t.Run(c.name+" "+dst, func(t *testing.T) {
				lab := newLab(t)
				inside := newSpace(t)
				r := c.route
				r.Dst = netip.MustParsePrefix(dst)
				family, f := "4", unix.AF_INET
				if r.Dst.Addr().Is6() {
					family, f = "6", unix.AF_INET6
				}
				p := pair(inside, 5, family)
				p.Routes = []masq.Route{r}
				p.HostMAC = mustAdd(t, lab.conn, p).HostMAC
				if found := differences(t, lab.conn, p); found != nil {
					t.Fatalf("before: %q", found)
				}
				all, err := inside.RouteListFiltered(f, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
				inside.must(err)
				i := slices.IndexFunc(all, func(have netlink.Route) bool {
					to := "0.0.0.0/0"
					if f == unix.AF_INET6 {
						to = "::/0"
					}
					if have.Dst != nil {
						to = have.Dst.String()
					}
					return to == dst && have.Type == unix.RTN_UNICAST && have.Gw != nil
				})
				if i < 0 {
					t.Fatalf("no such route among %v", all)
				}
				have := all[i]
				if have.Dst == nil {
					have.Dst = routeOf(dst, "").Dst
				}
				if !c.has(have) {
					t.Errorf("the kernel has %+v", have)
				}
				inside.must(inside.RouteDel(&have))
				c.spoil(&have)
				inside.must(inside.RouteAdd(&have))
				found := differences(t, lab.conn, p)
				if len(found) != 1 || !strings.Contains(found[0], c.want) {
					t.Errorf("found %q, not %q", found, c.want)
				}
			})
		}
	}
}

// A link that has no place for an attribute is not made.
func TestAddRefusesRouteAttributes(t *testing.T) {
	lab := newLab(t)
	p := pair(newSpace(t), 5, "4")
	p.Routes = []masq.Route{{Dst: netip.MustParsePrefix("192.0.2.0/24"), MTU: 9000}}
	before := lab.node.links()
	if _, err := lab.conn.Add(p); err == nil || !strings.Contains(err.Error(), "mtu: 9000") {
		t.Errorf("%v", err)
	}
	if lab.node.links() != before {
		t.Error("there is a link")
	}
}
