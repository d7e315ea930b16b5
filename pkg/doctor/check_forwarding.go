package doctor

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// forwardingOff finds interfaces that do not forward. The kernel decides by the interface
// that a packet enters by: the link of a container for its packets, an uplink for replies.
var forwardingOff = Check{
	ID:       "forwarding-off",
	Title:    "The node does not forward packets of containers, or the replies to them",
	Severity: report.SeverityError,
	Reads:    "net.ipv4.conf.*.forwarding, net.ipv6.conf.all.forwarding and net.ipv6.conf.*.force_forwarding of uplinks and of links of containers",
	Applies:  "the node has attachments",
	Remedy:   "Enable forwarding on the interface: sysctl -w.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		var out []Finding
		var errs []error
		for _, f := range masq.Families {
			records := withFamily(n.ready(), f)
			if len(records) == 0 {
				continue
			}
			off, managed, err := n.notForwarding(f, records)
			errs = append(errs, err)
			if len(off) > 0 {
				out = append(out, n.forwardingFinding(f, off, managed, records))
			}
		}
		return out, errors.Join(errs...)
	},
}

// notForwarding returns the settings that are off, and whether masqd would enable them: it
// repairs the links that the plugin made, and the uplinks. For a container of another
// plugin, notForwarding reads its link and the uplink that packets of the node take. It also
// reads the interfaces of egress addresses.
func (n *Node) notForwarding(f masq.Family, records []store.Record) (off []string, managed bool, err error) {
	if all, err := n.sysctl(confKey(f, "all", "forwarding")); f == masq.IPv6 && err == nil && all != "0" {
		return nil, false, nil // all interfaces forward
	}
	var unread error
	add := func(names []string) {
		for _, name := range names {
			key := n.forwardingKey(f, name)
			switch value, err := n.sysctl(key); {
			case errors.Is(err, fs.ErrNotExist): // the interface no longer exists
			case err != nil:
				unread = err
			case value == "0" && !slices.Contains(off, key):
				off = append(off, key)
			}
		}
	}
	own := map[string]bool{}
	var chained []store.Record
	for _, r := range records {
		switch {
		case !r.Chained:
			own[r.HostName()] = true
		case r.Policy != nil: // the node forwards packets that it masquerades
			chained = append(chained, r)
		}
	}
	if len(own) > 0 {
		interfaces, err := n.interfaces()
		if err != nil {
			return nil, false, err
		}
		hops, err := n.nextHops(f)
		if err != nil {
			return nil, false, err
		}
		var ends []string
		for _, i := range interfaces {
			off := f == masq.IPv4 && !i.Forwards4 || f == masq.IPv6 && i.Has6 && !i.Forced6
			if off && i.Managed && own[i.Name] {
				ends = append(ends, i.Name)
			}
		}
		slices.Sort(ends)
		add(ends)
		for _, h := range hops {
			add([]string{h.Interface})
		}
	}
	managed = len(off) > 0
	others, errOthers := n.interfacesOf(f, chained)
	add(others)
	egress, errEgress := n.egressInterfaces(f)
	add(egress)
	return off, managed, errors.Join(unread, errOthers, errEgress)
}

// egressInterfaces returns the names of the interfaces by which replies to egress addresses
// enter: those with an egress address in their subnet.
func (n *Node) egressInterfaces(f masq.Family) (names []string, err error) {
	all, err := n.egressAddresses()
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if masq.FamilyOf(a) != f {
			continue
		}
		_, i, err := n.subnetOf(a)
		if err != nil {
			return nil, err
		}
		if i.Index != 0 {
			names = append(names, i.Name)
		}
	}
	return names, nil
}

// interfacesOf returns the names of the interfaces that lead to records of other plugins,
// and of the best uplinks.
func (n *Node) interfacesOf(f masq.Family, chained []store.Record) (names []string, err error) {
	if len(chained) == 0 {
		return nil, nil
	}
	links, err := n.containerLinks()
	if err != nil {
		return nil, err
	}
	interfaces, err := n.interfaces()
	if err != nil {
		return nil, err
	}
	best, err := n.bestNextHops(f)
	if err != nil || len(best) == 0 {
		return nil, err
	}
	for _, h := range best {
		names = append(names, h.Interface)
	}
	for _, r := range chained {
		for _, a := range r.Addresses {
			i, ok := interfaces[links[a]]
			// If the route leads out by an uplink, the container has its own network card.
			if ok && masq.FamilyOf(a) == f && !slices.ContainsFunc(best, func(h veth.NextHop) bool { return h.Index == i.Index }) {
				names = append(names, i.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// forwardingKey returns the setting that makes an interface forward.
func (n *Node) forwardingKey(f masq.Family, iface string) string {
	if f == masq.IPv4 {
		return confKey(f, iface, "forwarding")
	}
	forced := confKey(f, iface, "force_forwarding") // Requires Linux 6.17.
	if _, err := n.sysctl(forced); err == nil {
		return forced
	}
	return confKey(f, "all", "forwarding")
}

// maxSettings is the greatest number of interfaces whose settings a finding lists.
const maxSettings = 4

func (n *Node) forwardingFinding(f masq.Family, off []string, managed bool, records []store.Record) Finding {
	family := "IPv" + f.String()
	var names []string
	for _, key := range off {
		if name := path.Base(path.Dir(key)); name != "all" {
			names = append(names, name)
		}
	}
	x := Finding{
		Severity: report.SeverityError,
		Object:   "the node",
		Message:  "does not forward " + family + " packets that enter by " + listed(names),
		Why:      "Packets of " + podsOf(records) + ", or the replies to them, are dropped: connections of containers time out.",
	}
	switch {
	case len(names) == 0:
		x.Message = "does not forward " + family + " packets"
	case len(names) == 1:
		x.Object, x.Message = "interface "+names[0], "does not forward "+family+" packets that enter by it"
	}
	for _, key := range off[:min(len(off), maxSettings)] {
		x.Evidence = append(x.Evidence, n.sysctlEvidence(key))
		x.Remedy.Commands = append(x.Remedy.Commands, setSysctl(key, "1"))
	}
	all := confKey(f, "all", "forwarding")
	if f == masq.IPv4 {
		all = "net/ipv4/ip_forward"
	}
	if e := n.sysctlEvidence(all); !slices.Contains(x.Evidence, e) {
		x.Evidence = append(x.Evidence, e)
		if len(off) > maxSettings && e.Value == "0" {
			x.Remedy.Commands = []string{setSysctl(all, "1")}
		}
	}
	if managed {
		x.Remedy.Text = "start masqd, which enables forwarding and keeps it enabled, or enable it now"
	}
	if managed && n.canRepair() {
		x.Remedy.Fix = &Fix{Does: "enables " + family + " forwarding on the links of containers and on uplinks", Apply: n.Repair}
		for _, key := range off {
			x.Remedy.Fix.Undo = append(x.Remedy.Fix.Undo, setSysctl(key, "0"))
		}
	}
	return x
}
