package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// routesOf returns the routes of an IPAM plugin's result, for a link with this MTU.
// Attributes that are invalid for the link are an error with code 7, which lists all keys.
func routesOf(routes []*types.Route, linkMTU int) ([]masq.Route, error) {
	var out []masq.Route
	var faults []error
	for _, r := range routes {
		route, err := routeOf(r)
		if err != nil {
			return nil, err
		}
		if err := route.Validate(linkMTU); err != nil {
			faults = append(faults, err)
		}
		out = append(out, route)
	}
	if err := errors.Join(faults...); err != nil {
		lines := strings.Split(err.Error(), "\n")
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "a route of the IPAM plugin has attributes that its link cannot have", "ipam: routes: "+strings.Join(lines, "\nipam: routes: "))
	}
	return out, nil
}

func routeOf(r *types.Route) (masq.Route, error) {
	if r == nil {
		return masq.Route{}, errors.New("a route is null")
	}
	a, ok := netip.AddrFromSlice(r.Dst.IP)
	bits, size := r.Dst.Mask.Size()
	if size == 128 && a.Unmap().Is4() {
		bits -= 96
	}
	dst := netip.PrefixFrom(a.Unmap(), bits)
	if !ok || size == 0 || !dst.IsValid() {
		return masq.Route{}, fmt.Errorf("route to %s: not a prefix", r.Dst.String())
	}
	out := masq.Route{Dst: dst.Masked(), MTU: r.MTU, AdvMSS: r.AdvMSS, Priority: r.Priority}
	if r.Table != nil {
		out.Table = *r.Table
	}
	if r.Scope != nil {
		out.Scope = *r.Scope
	}
	if r.GW != nil {
		gw, ok := netip.AddrFromSlice(r.GW)
		if !ok {
			return masq.Route{}, fmt.Errorf("route to %s: gateway %s is no address", dst, r.GW)
		}
		out.GW = gw.Unmap()
	}
	return out, nil
}
