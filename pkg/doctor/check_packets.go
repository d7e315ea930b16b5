package doctor

import (
	"context"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// Thresholds of counters, which count since the network namespace was made. Some fragments are
// lost, and some checksums are wrong, on healthy networks.
const (
	minReassemblyFailures = 50
	reassemblyShare       = 10 // at least a tenth of the datagrams
	minFragments          = 1000
	fragmentShare         = 100 // at least a hundredth of the datagrams
	minChecksumErrors     = 100
	checksumShare         = 100
)

var fragments = Check{
	ID:       "fragments",
	Title:    "Fragments are lost, or the node fragments many packets",
	Severity: report.SeverityWarning,
	Reads:    "counters of fragments in /proc/net/snmp and snmp6",
	Applies:  "the node has containers",
	Remedy:   "Make the MTU of containers, tunnels and uplinks agree.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		if len(n.Records) == 0 {
			return nil, nil
		}
		x, err := n.snmp()
		if err != nil {
			return nil, err
		}
		return append(x.fragments("Ip", "IPv4"), x.fragments("Ip6", "IPv6")...), nil
	},
}

// fragments returns the findings of a family.
func (x snmp) fragments(protocol, family string) (out []Finding) {
	name := func(counter string) string { return protocol + "." + counter }
	failed, reassembled := x[name("ReasmFails")], x[name("ReasmOKs")]
	if failed >= minReassemblyFailures && failed*reassemblyShare >= reassembled {
		out = append(out, Finding{
			Severity: report.SeverityWarning,
			Object:   "reassembly of " + family + " fragments",
			Message:  fmt.Sprintf("fails: %s could not be completed, %d could", report.Plural(failed, "datagram"), reassembled),
			Evidence: x.evidence(name("ReasmReqds"), name("ReasmOKs"), name("ReasmFails"), name("ReasmTimeout")),
			Why:      "A datagram without all of its fragments is lost: large answers of DNS, tunnels, and UDP in general.",
			Remedy: Remedy{
				Text:     "find out where fragments are dropped: many firewalls and cloud networks drop all but the first; make the sender send smaller datagrams (DNS: a smaller EDNS buffer size)",
				Commands: []string{"nstat -az '" + protocol + "Reasm*'"},
			},
		})
	}
	sent := x[name("OutRequests")] + x[name("ForwDatagrams")] + x[name("OutForwDatagrams")]
	if created := x[name("FragCreates")]; created >= minFragments && created*fragmentShare >= sent {
		out = append(out, Finding{
			Severity: report.SeverityWarning,
			Object:   "the node",
			Message:  fmt.Sprintf("fragments %s packets: %d fragments in %d packets", family, created, sent),
			Evidence: x.evidence(name("FragOKs"), name("FragCreates"), name("FragFails"), name("OutRequests")),
			Why:      "Packets are larger than the MTU of the interface that they leave by: each takes the time of several, and is lost if one fragment is.",
			Remedy: Remedy{
				Text:     "compare the MTU of the containers' interfaces, of tunnels and of the uplinks: that of containers must leave room for the header of a tunnel",
				Commands: []string{"ip -d link show"},
			},
		})
	}
	return out
}

var offloadFault = Check{
	ID:       "offload-fault",
	Title:    "Packets arrive with wrong checksums",
	Severity: report.SeverityWarning,
	Reads:    "counters of wrong checksums in /proc/net/snmp and snmp6",
	Applies:  "the node has containers",
	Remedy:   "Turn off checksum offload of the tunnel or interface by which the packets are sent.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		if len(n.Records) == 0 {
			return nil, nil
		}
		x, err := n.snmp()
		if err != nil {
			return nil, err
		}
		return x.checksums(), nil
	},
}

// checksums returns the findings of all protocols.
func (x snmp) checksums() (out []Finding) {
	for _, p := range []struct{ name, errors, received string }{
		{"UDP over IPv4", "Udp.InCsumErrors", "Udp.InDatagrams"},
		{"UDP over IPv6", "Udp6.InCsumErrors", "Udp6.InDatagrams"},
		{"TCP", "Tcp.InCsumErrors", "Tcp.InSegs"},
	} {
		wrong, received := x[p.errors], x[p.received]
		if wrong < minChecksumErrors || wrong*checksumShare < received {
			continue
		}
		out = append(out, Finding{
			Severity: report.SeverityWarning,
			Object:   "the node",
			Message:  fmt.Sprintf("receives %s with wrong checksums: %s of %d", p.name, report.Plural(wrong, "packet"), max(wrong, received)),
			Evidence: x.evidence(p.errors, p.received),
			Why:      "The kernel drops them: the sender, or a device on the way, leaves the checksum to hardware that does not compute it, as happens with tunnels (VXLAN, Geneve) on some network cards and hypervisors.",
			Remedy: Remedy{
				Text:     "on the nodes that send, turn off checksum offload of the tunnel's interface, and compare the counter: ethtool -K INTERFACE tx-checksum-ip-generic off",
				Commands: []string{"nstat -az '*InCsumErrors'"},
			},
		})
	}
	return out
}
