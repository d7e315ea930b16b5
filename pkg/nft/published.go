package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// publisher names the chain or the verdict map in which a program keeps the ports of the
// node that it redirects to containers. nf_tables does not list tables of legacy iptables.
type publisher struct{ table, chain, set string }

// publishers are the programs that publish ports. Each has separate tables for IPv4 and
// IPv6. Sources: plugins/meta/portmap of containernetworking/plugins 1.9, pkg/proxy of
// Kubernetes 1.34, Docker 28, netavark 1.14.
var publishers = []publisher{
	{table: "cni_hostport", chain: "hostports"},
	{table: "cni_hostport", chain: "hostip_hostports"},
	{table: "nat", chain: "CNI-HOSTPORT-DNAT"},
	{table: "nat", chain: "KUBE-NODEPORTS"},
	{table: "nat", chain: "DOCKER"},
	{table: "nat", chain: "NETAVARK-HOSTPORT-DNAT"},
	{table: "kube-proxy", set: "service-nodeports"},
}

// published is a result of Published, and the generation of its ruleset.
type published struct {
	generation uint32
	ports      []masq.PortRange
}

// Published returns the ports of the node that other programs redirect to containers, in
// no order: published ports and NodePorts. It reads them again only if the ruleset has
// changed.
func (c *Conn) Published() (out []masq.PortRange, err error) {
	err = retry(func() error {
		generation, err := c.generation()
		if err != nil {
			return fmt.Errorf("read the generation of the ruleset: %w", err)
		}
		if c.published != nil && c.published.generation == generation {
			out = c.published.ports
			return nil
		}
		out = nil
		for _, p := range publishers {
			for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
				ports, err := c.publishedBy(family, p)
				if err != nil && !errors.Is(err, unix.ENOENT) {
					return fmt.Errorf("read the ports that table %s %s publishes: %w", families[family], p.table, err)
				}
				out = append(out, ports...)
			}
		}
		c.published = &published{generation, out}
		return nil
	})
	return out, explain(err)
}

func (c *Conn) publishedBy(family uint8, p publisher) (out []masq.PortRange, err error) {
	var of netlink.Encoder
	if p.set != "" {
		of.Text(unix.NFTA_SET_ELEM_LIST_TABLE, p.table)
		of.Text(unix.NFTA_SET_ELEM_LIST_SET, p.set)
		err := c.list(family, unix.NFT_MSG_GETSETELEM, of, func(_ uint8, b []byte) error {
			return eachElement(b, func(x rawElement) error {
				// The key is inet_proto . inet_service, each part in four bytes.
				if len(x.key) == 8 {
					port := binary.BigEndian.Uint16(x.key[4:])
					out = append(out, masq.PortRange{First: port, Last: port})
				}
				return nil
			})
		})
		return out, err
	}
	of.Text(unix.NFTA_RULE_TABLE, p.table)
	of.Text(unix.NFTA_RULE_CHAIN, p.chain)
	err = c.list(family, unix.NFT_MSG_GETRULE, of, func(_ uint8, b []byte) error {
		f, err := fields(b)
		// A kernel that does not filter answers with the rules of all chains.
		if err != nil || netlink.Text(f[unix.NFTA_RULE_TABLE]) != p.table || netlink.Text(f[unix.NFTA_RULE_CHAIN]) != p.chain {
			return err
		}
		all, err := parseList(f[unix.NFTA_RULE_EXPRESSIONS])
		out = append(out, destinationPorts(all)...)
		return err
	})
	return out, err
}

// publishes reports whether a notification is about the ports of a publisher. body is the
// notification of a rule or of elements, and its second attribute names the chain or the
// set.
func publishes(typ uint16, table string, body []byte) bool {
	var of func(publisher) string
	var attr uint16
	switch typ {
	case unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE:
		of, attr = func(p publisher) string { return p.chain }, unix.NFTA_RULE_CHAIN
	case unix.NFT_MSG_NEWSETELEM, unix.NFT_MSG_DELSETELEM:
		of, attr = func(p publisher) string { return p.set }, unix.NFTA_SET_ELEM_LIST_SET
	default:
		return false
	}
	b, err := inside(body, attr)
	name := string(unended(b))
	return err == nil && name != "" && slices.ContainsFunc(publishers, func(p publisher) bool { return p.table == table && of(p) == name })
}

// destinationPorts returns the destination ports that a rule matches. It returns none for
// a rule that matches them by a set or by exclusion.
func destinationPorts(all []expression) (out []masq.PortRange) {
	var ports struct {
		register []byte
		first    uint16
	}
	for _, e := range all {
		f, err := fields(e.data)
		if err != nil {
			return nil
		}
		switch e.name {
		case "payload":
			ports.register = nil
			if number(f[unix.NFTA_PAYLOAD_BASE]) == unix.NFT_PAYLOAD_TRANSPORT_HEADER &&
				number(f[unix.NFTA_PAYLOAD_OFFSET]) == destinationPortAt && number(f[unix.NFTA_PAYLOAD_LEN]) == portLen {
				ports.register = f[unix.NFTA_PAYLOAD_DREG]
			}
		case "cmp":
			v, err := inside(f[unix.NFTA_CMP_DATA], unix.NFTA_DATA_VALUE)
			if err != nil || len(v) != portLen || ports.register == nil || string(f[unix.NFTA_CMP_SREG]) != string(ports.register) {
				continue
			}
			port := binary.BigEndian.Uint16(v)
			switch number(f[unix.NFTA_CMP_OP]) {
			case unix.NFT_CMP_EQ:
				out = append(out, masq.PortRange{First: port, Last: port})
			case unix.NFT_CMP_GTE:
				ports.first = port
			case unix.NFT_CMP_LTE:
				out = append(out, masq.PortRange{First: ports.first, Last: port})
			}
		case "match": // of iptables-nft
			out = append(out, matchedPorts(netlink.Text(f[unix.NFTA_MATCH_NAME]), f[unix.NFTA_MATCH_INFO])...)
		}
	}
	return slices.DeleteFunc(out, func(r masq.PortRange) bool { return r.First == 0 || r.First > r.Last })
}

// matchedPorts reads a match of iptables: struct xt_tcp, xt_udp or xt_multiport_v1 of
// uapi/linux/netfilter, with ports in the machine's byte order.
func matchedPorts(name string, info []byte) (out []masq.PortRange) {
	port := func(at int) uint16 { return binary.NativeEndian.Uint16(info[at:]) }
	switch {
	case (name == "tcp" || name == "udp") && len(info) >= 8:
		const maxPort = 65535
		if r := (masq.PortRange{First: port(4), Last: port(6)}); r != (masq.PortRange{First: 0, Last: maxPort}) {
			out = append(out, r)
		}
	case name == "multiport" && len(info) >= 48:
		const source, most, portsAt, flagsAt, invertAt = 0, 15, 2, 32, 47
		if info[0] == source || info[invertAt] != 0 {
			return nil
		}
		for i := 0; i < min(int(info[1]), most); i++ {
			r := masq.PortRange{First: port(portsAt + 2*i), Last: port(portsAt + 2*i)}
			if info[flagsAt+i] != 0 && i+1 < most { // the next port ends the range
				i++
				r.Last = port(portsAt + 2*i)
			}
			out = append(out, r)
		}
	}
	return out
}
