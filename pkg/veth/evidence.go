package veth

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// EvidenceOf returns what the kernel has of a container now: its network namespace, and
// the node's interfaces with the other end in it. It checks the peer of the container's
// interface and the interfaces that names lists. The evidence is valid also with an error.
func (c *Conn) EvidenceOf(netns, iface string, names []string) (masq.Evidence, error) {
	e, err := c.evidence(netns)
	links, errLinks := c.linksInto(netns, iface, names)
	e.Links = links
	return e, errors.Join(err, errLinks)
}

// EvidenceOfPair is EvidenceOf for a link that Add made.
func (c *Conn) EvidenceOfPair(p Pair, l Link) (masq.Evidence, error) {
	e, err := c.evidence(p.NetNS)
	e.Links = []masq.HostLink{{Index: l.HostIndex, Name: l.HostName, Alias: p.Identity, Group: p.group()}}
	return e, err
}

func (c *Conn) evidence(netns string) (e masq.Evidence, err error) {
	var errBoot error
	e.Boot, errBoot = BootID()
	e.NetNS, err = IdentifyNetNS(netns)
	e.Node = OwnNetNS()
	return e, errors.Join(errBoot, err)
}

// linksInto returns the node's interfaces that have their other end in a namespace.
func (c *Conn) linksInto(netns, iface string, names []string) (out []masq.HostLink, err error) {
	ns, err := openNamespace(netns)
	if err != nil {
		return nil, err
	}
	defer ns.close()
	container, err := ns.dial(nodeBuffer)
	if err != nil {
		return nil, err
	}
	defer container.close()
	var lookups []*message
	if d, err := container.find(iface); err == nil && d.peer > 0 {
		lookups = append(lookups, getByIndex(d.peer))
	}
	for _, name := range names {
		if validName(name) {
			lookups = append(lookups, getByName(name))
		}
	}
	if len(lookups) == 0 {
		return nil, nil
	}
	// When the kernel describes an interface with the other end in another namespace, it
	// assigns that namespace a number. So the number is requested last.
	id := newMessage(unix.RTM_GETNSID, 0, "look up the number of network namespace "+netns, familyHeader{})
	id.NativeUint32(unix.NETNSA_FD, uint32(ns.fd))
	if err := c.host.exchange(append(lookups, id)...); err != nil && id.err != nil {
		return nil, id.failed()
	}
	number, ok := id.namespaceNumber()
	if !ok {
		return nil, nil
	}
	seen := map[int]bool{}
	for _, m := range lookups {
		d, err := m.device()
		if err != nil || d.peerNS != number || d.peer == 0 || seen[d.index] {
			continue
		}
		seen[d.index] = true
		l := masq.HostLink{Index: d.index, Name: d.name, Alias: d.alias}
		if l.Alias != "" {
			l.Group = d.group
		}
		out = append(out, l)
	}
	return out, nil
}

// namespaceNumber reads the answer to an RTM_GETNSID. It returns false for
// NETNSA_NSID_NOT_ASSIGNED, -1.
func (m *message) namespaceNumber() (int, bool) {
	for kind, v := range netlink.All(netlink.After(m.reply, unix.NLMSG_ALIGNTO)) {
		if kind == unix.NETNSA_NSID {
			n := int(int32(readUint32(v)))
			return n, n >= 0
		}
	}
	return 0, false
}
