package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/probe"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// ProbeFacts is what a probe of the target found.
type ProbeFacts struct {
	// Record is the attachment of the container that the packets came from. It is nil if they
	// came from the node itself.
	Record *store.Record
	// Paths are the results, one for each family that container and target have.
	Paths []ProbedPath
	// Node and Container are the counters of their network namespaces that have grown during
	// the probe. Container is empty for a probe from the node.
	Node, Container probe.Counters
	// Trace has the packets of the probe, and of other connections of the container to the
	// target, with the rules that they met on the node.
	Trace *trace
}

// ProbedPath is what a probe found for one address.
type ProbedPath struct {
	probe.Result
	// Err says why the probe could not be made.
	Err error
	// HostLink is the interface of the node that leads to the container, and Uplink the node's
	// route to the target.
	HostLink, Uplink probe.Route
	// NodeRouteErr is probe.ErrNoRoute if the node has no route to the target.
	NodeRouteErr error
	// NextHop is the neighbor entry of the first hop of a failed connection of a container:
	// its gateway, or the target on its link.
	NextHop veth.NeighborState
	// Flow is the connection as conntrack has it on the node, or nil: then no packet of it has
	// passed all hooks of the node.
	Flow *conntrack.Flow
}

// probeTimeout bounds the time of a probe. A black hole takes some seconds, and more if the
// round-trip time is long or the machine is busy.
const probeTimeout = 40 * time.Second

// Probe sends packets to the target, once. It returns nil without a target.
func (n *Node) Probe(ctx context.Context) (*ProbeFacts, error) {
	if n.Target == nil {
		return nil, nil
	}
	return read(n, "probe", func() (*ProbeFacts, error) {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		return n.probe(ctx)
	})
}

func (n *Node) probe(ctx context.Context) (*ProbeFacts, error) {
	p := &ProbeFacts{}
	if len(n.Only) > 0 {
		if len(n.Records) == 0 {
			return nil, notChecked("the container has no record")
		}
		p.Record = &n.Records[0]
	}
	for _, a := range n.targetAddresses() {
		if p.Record != nil && !hasFamily(p.Record.Addresses, a.Addr()) {
			continue
		}
		p.Paths = append(p.Paths, ProbedPath{Result: probe.Result{Target: probe.Target{Address: a, UDP: n.Target.Protocol == "udp", Name: n.Target.name()}}})
	}
	if len(p.Paths) == 0 {
		return nil, notChecked(fmt.Sprintf("the container has no address of the family of %s", n.Target.Address.Addr()))
	}
	before, err := probe.ReadCounters()
	if err != nil {
		return nil, err
	}
	p.Trace, err = traceWhile(ctx, p.flows(), func() error {
		if p.Record != nil {
			return p.fromContainer(ctx)
		}
		for i := range p.Paths {
			p.Paths[i].run(ctx)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	after, err := probe.ReadCounters()
	if err != nil {
		return nil, err
	}
	p.Node = after.Since(before)
	return p, p.complete()
}

// flows returns the flows of the probe, to be traced.
func (p *ProbeFacts) flows() (flows []nft.TraceFlow) {
	for i := range p.Paths {
		to := p.Paths[i].Target.Address
		f := nft.TraceFlow{Protocol: p.Paths[i].protocol(), Destination: to}
		if p.Record == nil {
			r, err := probe.LookUp(to.Addr())
			if err != nil {
				continue // the probe says so
			}
			f.Source = netip.AddrPortFrom(r.Source, 0)
		} else {
			for _, a := range p.Record.Addresses {
				if a.Is4() == to.Addr().Is4() {
					f.Source = netip.AddrPortFrom(a, 0)
				}
			}
		}
		flows = append(flows, f)
	}
	return flows
}

// ended returns the traced packets of a path that a rule of the node ended.
func (p *ProbeFacts) ended(x *ProbedPath) []nft.TracedPacket {
	return ended(p.Trace.of(x.Target.Address.Addr()), x.Connection)
}

// request returns the traced packet that shows the way of a path over the node: one that a rule
// ended, or else the first. It returns nil if none was traced.
func (p *ProbeFacts) request(x *ProbedPath) *nft.TracedPacket {
	for _, all := range [][]nft.TracedPacket{p.ended(x), p.Trace.of(x.Target.Address.Addr())} {
		for i := range all {
			if all[i].Role == nft.Request {
				return &all[i]
			}
		}
	}
	return nil
}

// protocol returns the number of the target's protocol.
func (x *ProbedPath) protocol() uint8 {
	if x.Target.UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// fromContainer probes all paths at once, in the container's network namespace.
func (p *ProbeFacts) fromContainer(ctx context.Context) error {
	var before, after probe.Counters
	count := func(to *probe.Counters) error {
		return inContainer(*p.Record, func() (err error) {
			*to, err = probe.ReadCounters()
			return err
		})
	}
	if err := count(&before); err != nil {
		return err
	}
	var all sync.WaitGroup
	for i := range p.Paths {
		all.Go(func() {
			x := &p.Paths[i]
			if err := inContainer(*p.Record, func() error { x.run(ctx); return x.readNextHop(ctx) }); err != nil {
				x.Err = err
			}
		})
	}
	all.Wait()
	err := count(&after)
	p.Container = after.Since(before)
	return err
}

func (x *ProbedPath) run(ctx context.Context) {
	x.Result, x.Err = probe.Run(ctx, x.Target)
}

// firstHop returns the address that the sender resolves: its gateway, or the target on its link.
func (x *ProbedPath) firstHop() netip.Addr {
	if x.Route.Gateway.IsValid() {
		return x.Route.Gateway
	}
	return x.Target.Address.Addr()
}

// readNextHop reads NextHop, in the network namespace of the calling thread.
func (x *ProbedPath) readNextHop(ctx context.Context) error {
	// If the gateway is dead, the attempt ends by its timeout, or by an error of the kernel
	// when its ARP requests have failed.
	states := []probe.State{probe.Unanswered, probe.NoRoute, probe.Rejected}
	if x.Err != nil || x.Route.Interface == "" || !slices.Contains(states, x.Connection.State) {
		return nil
	}
	link, err := net.InterfaceByName(x.Route.Interface)
	if err != nil {
		return err
	}
	c, err := veth.Open()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	x.NextHop, err = c.NeighborState(ctx, x.firstHop(), link.Index)
	return err
}

// complete reads what the node knows about each path, and deletes the flows of the probe's
// single packets: they would wait for answers for minutes, and hold source ports.
func (p *ProbeFacts) complete() error {
	c, err := conntrack.Open()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for i := range p.Paths {
		x := &p.Paths[i]
		to := x.Target.Address
		if x.Uplink, x.NodeRouteErr = probe.LookUp(to.Addr()); x.NodeRouteErr != nil && !errors.Is(x.NodeRouteErr, probe.ErrNoRoute) {
			return x.NodeRouteErr
		}
		if p.Record != nil {
			for _, a := range p.Record.Addresses {
				if a.Is4() == to.Addr().Is4() {
					x.HostLink, _ = probe.LookUp(a) // without a route the station has no name
				}
			}
		}
		tuple := conntrack.Tuple{Dst: to.Addr(), DstPort: to.Port(), Proto: x.protocol()}
		if local := x.Connection.Local; local.Addr().IsValid() {
			tuple.Src, tuple.SrcPort = local.Addr(), local.Port()
			if f, err := c.Get(tuple); err == nil {
				x.Flow = &f
			}
		}
		for _, port := range x.Ports {
			tuple.Src, tuple.SrcPort = x.Source, port
			_ = c.Delete(tuple, 0) // not found: no packet passed, or conntrack is not in use
		}
	}
	return nil
}

// targetAddresses returns the addresses of the target, one for each family.
func (n *Node) targetAddresses() []netip.AddrPort {
	all := []netip.AddrPort{n.Target.Address}
	if n.Target.Other != nil {
		all = append(all, *n.Target.Other)
	}
	return all
}

// name returns the target's name, or "" if only its address is known.
func (t *Target) name() string {
	if _, err := netip.ParseAddr(t.Host); err == nil {
		return ""
	}
	return t.Host
}

func hasFamily(all []netip.Addr, like netip.Addr) bool {
	for _, a := range all {
		if a.Is4() == like.Is4() {
			return true
		}
	}
	return false
}

// from names the sender: "pod shop/cart", "container 4e1f..." or "the node".
func (p *ProbeFacts) from() string {
	if p.Record == nil {
		return "the node"
	}
	name := report.OwnerOf(p.Record.Attachment).Pod()
	if p.Record.Name == "" {
		return "container " + name
	}
	return "pod " + name
}

// place names where values of the sender were read: "the container" or "the node".
func (p *ProbeFacts) place() string {
	if p.Record == nil {
		return "the node"
	}
	return "the container"
}

// target names the destination of a path: "198.51.100.7 port 443 (tcp)".
func (x *ProbedPath) target() string {
	protocol := "tcp"
	if x.Target.UDP {
		protocol = "udp"
	}
	return fmt.Sprintf("%s port %d (%s)", x.Target.Address.Addr(), x.Target.Address.Port(), protocol)
}

// nodeHops is the number of routers of the path that are the node itself: a container's first
// router is its node.
func (p *ProbeFacts) nodeHops() int {
	if p.Record == nil {
		return 0
	}
	return 1
}

// lastPoint names the last point that the packets of an unanswered connection were seen at, and
// nextPoint the one after it.
func (p *ProbeFacts) lastPoint(x *ProbedPath) (last, next string) {
	target := x.Target.Address.Addr().String()
	router := x.Hops.LastAnswer()
	nextHop := "next hop " + x.Uplink.Gateway.String()
	if !x.Uplink.Gateway.IsValid() {
		nextHop = target
	}
	uplink := "uplink " + x.Uplink.Interface + " of the node"
	switch {
	case x.Hops.Reached:
		return target, "the answer's way back"
	case router >= p.nodeHops():
		return "router " + x.Hops.Routers[router].Address.String(), "the next router or " + target
	case x.Flow != nil || p.Record == nil:
		return uplink, nextHop
	case router >= 0:
		if place := lost(p.Trace.of(x.Target.Address.Addr())); place != "" && !p.Trace.Incomplete {
			return "the node, " + place + ",", uplink
		}
		return "the node", uplink
	default:
		return "interface " + x.Route.Interface + " of the container", "the node"
	}
}
