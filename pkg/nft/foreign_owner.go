package nft

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// tableNames are tables that one program makes.
var tableNames = map[string]string{
	"firewalld": "firewalld", "kube-proxy": "kube-proxy", "netavark": "podman (netavark)",
	"cni_hostport": "the CNI plugin portmap", "cni_plugins_masquerade": "a CNI plugin with ipMasq",
	"docker-bridges": "Docker", "libvirt_network": "libvirt", "calico": "Calico",
	"flannel-ipv4": "flannel", "flannel-ipv6": "flannel", "kube-network-policies": "kube-network-policies",
	"fw4": "OpenWrt's firewall", "f2b-table": "fail2ban", "crowdsec": "CrowdSec", "crowdsec6": "CrowdSec",
	"incus": "Incus", "lxd": "LXD", "lxc": "LXC",
}

// chainNames are the beginnings of names of chains that one program makes in shared tables.
var chainNames = []struct{ prefix, owner string }{
	{"KUBE-ROUTER-", "kube-router"},
	{"KUBE-NWPLCY-", "kube-router"},
	{"KUBE-POD-FW-", "kube-router"},
	{"KUBE-", "kube-proxy or kubelet"},
	{"DOCKER", "Docker"},
	{"cali-", "Calico"},
	{"ufw-", "ufw"},
	{"ufw6-", "ufw"},
	{"LIBVIRT_", "libvirt"},
	{"NETAVARK", "podman (netavark)"},
	{"CNI-", "a CNI plugin"},
	{"FLANNEL-", "flannel"},
	{"IP-MASQ", "ip-masq-agent"},
	{"CILIUM_", "Cilium"},
	{"OLD_CILIUM_", "Cilium"},
	{"WEAVE", "Weave Net"},
	{"ts-", "Tailscale"},
	{"f2b-", "fail2ban"},
	{"FORWARD_direct", "firewalld"},
	{"ANTREA-", "Antrea"},
	{"AWS-SNAT-CHAIN", "the VPC CNI plugin of AWS"},
	{"AWS-CONNMARK-CHAIN", "the VPC CNI plugin of AWS"},
}

// iptablesTables are the tables of iptables-nft, which any program may share.
var iptablesTables = map[string]bool{"filter": true, "nat": true, "mangle": true, "raw": true, "security": true}

// AnyIptables is the owner of chains of iptables-nft that any program may have made.
const AnyIptables = "a program that uses iptables"

// ChainOwner returns the program that makes a chain, by its name or the name of its table, or
// "" if they do not tell.
func ChainOwner(family, table, chain string) string {
	if owner, ok := tableNames[table]; ok {
		return owner
	}
	for _, c := range chainNames {
		if strings.HasPrefix(chain, c.prefix) {
			return c.owner
		}
	}
	upper := chain != "" && chain == strings.ToUpper(chain)
	if (family == "ip" || family == "ip6") && iptablesTables[table] && upper {
		return AnyIptables
	}
	return ""
}

// otherTable is what the kernel says of a table.
type otherTable struct {
	// dormant says that packets do not pass the table's chains (NFT_TABLE_F_DORMANT).
	dormant bool
	// port is the netlink port ID of the process that owns the table, or 0.
	port uint32
}

// otherTables lists the tables of all families.
func (c *Conn) otherTables() (map[tableID]otherTable, error) {
	const dormant = 0x1
	out := map[tableID]otherTable{}
	err := c.list(unix.NFPROTO_UNSPEC, unix.NFT_MSG_GETTABLE, nil, func(family uint8, b []byte) error {
		f, err := fields(b)
		out[tableID{family, netlink.Text(f[unix.NFTA_TABLE_NAME])}] = otherTable{number(f[unix.NFTA_TABLE_FLAGS])&dormant != 0, ownerOf(f)}
		return err
	})
	return out, err
}

// TableOwner returns the process that made a table with the flag owner, such as
// "process 812 (firewalld)", or "" if the table has no such flag.
func (c *Conn) TableOwner(family, table string) (string, error) {
	var of netlink.Encoder
	of.Text(unix.NFTA_TABLE_NAME, table)
	for n, name := range families {
		if name != family {
			continue
		}
		f, err := c.getIn(n, unix.NFT_MSG_GETTABLE, of)
		if err != nil || f == nil {
			return "", explain(err)
		}
		if port := ownerOf(f); port != 0 {
			return ownerError(table, port, nil).Owner(), nil
		}
	}
	return "", nil
}
