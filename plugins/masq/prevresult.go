package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// addressesOf returns the addresses in a result that belong to the container, with
// their prefix lengths. If this plugin made the link, these are the addresses of
// CNI_IFNAME. In chained mode they are the addresses of every interface in the
// container's sandbox, and addresses without an interface: the previous plugin may have
// made several interfaces (the AWS VPC CNI calls them eth0, mNicIf1 ...). If no address
// is left, the error says which addresses were skipped and why.
func addressesOf(r *types100.Result, args *skel.CmdArgs, chained bool) ([]netip.Prefix, error) {
	own, skipped := ipsOf(r, args, chained)
	prefixes, err := prefixesOf(own)
	if err == nil {
		return prefixes, nil
	}
	details := []string{"prevResult: " + err.Error()}
	for _, p := range skipped {
		details = append(details, "prevResult: skipped: "+p)
	}
	return nil, types.NewError(types.ErrInvalidNetworkConfig, "prevResult has no usable address of "+args.IfName, strings.Join(details, "\n"))
}

// ipsOf returns the container's addresses, and why the others were skipped.
func ipsOf(r *types100.Result, args *skel.CmdArgs, chained bool) (own []*types100.IPConfig, skipped []string) {
	for _, ip := range r.IPs {
		why := ""
		if ip != nil && ip.Interface != nil && *ip.Interface >= 0 && *ip.Interface < len(r.Interfaces) {
			why = whySkipped(r.Interfaces[*ip.Interface], args, chained)
		}
		if why == "" {
			own = append(own, ip)
			continue
		}
		skipped = append(skipped, ip.Address.String()+": "+why)
	}
	return own, skipped
}

// whySkipped returns why an interface of a result is not the container's, or "".
func whySkipped(i *types100.Interface, args *skel.CmdArgs, chained bool) string {
	switch {
	case i == nil:
		return "its interface is null"
	case i.Sandbox == "":
		return fmt.Sprintf("interface %q has no sandbox, so it is the node's", i.Name)
	case !chained && i.Name != args.IfName:
		return fmt.Sprintf("interface %q was made by another plugin", i.Name)
	}
	same, known := sameNamespace(i.Sandbox, args.Netns)
	// A sandbox that does not exist is not another container's.
	if same || !known && i.Name == args.IfName {
		return ""
	}
	return fmt.Sprintf("interface %q is in sandbox %q, and the container in %q", i.Name, i.Sandbox, args.Netns)
}

// sameNamespace reports whether two paths lead to the same network namespace. known is false
// if a path does not exist, as may be at CHECK. A namespace may have several paths, such as
// /proc/42/ns/net. The AWS VPC CNI puts a number there.
func sameNamespace(a, b string) (same, known bool) {
	if a == b {
		return true, true
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	if errX != nil || errY != nil {
		return false, false
	}
	return os.SameFile(x, y), true
}
