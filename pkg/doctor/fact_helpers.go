package doctor

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// usualPorts are ports that control connections of a helper's protocol commonly use. Only
// protocols whose connections fail without the helper are listed.
var usualPorts = map[helperPortKey]string{
	{unix.IPPROTO_TCP, 21}:   "ftp",
	{unix.IPPROTO_TCP, 2121}: "ftp",
	{unix.IPPROTO_TCP, 554}:  masq.RTSP,
	{unix.IPPROTO_UDP, 518}:  masq.Talk,
}

// withoutHelper is what fails without the helper of a protocol in usualPorts.
var withoutHelper = map[string]string{
	"ftp":     "In active mode (PORT, EPRT) the client announces its own address, which the server refuses or cannot reach; passive mode works.",
	masq.RTSP: "The client announces UDP ports for the stream, which does not arrive; a stream within the connection (TCP) works.",
	masq.Talk: "A call announces the container's own address for the answer, which the other side cannot reach.",
}

// helperPortKey is a destination port of control connections.
type helperPortKey struct {
	protocol uint8
	port     uint16
}

// helperFlows counts the open control connections of containers to ports that need a helper.
type helperFlows struct {
	// ByPort has only uses with flows.
	ByPort map[helperUse]*helperCount

	owners   *report.Owners
	policies []*masq.Policy // a policy for each attachment
	age      []time.Duration
	ports    [1 << 16 / 64]uint64 // the ports of all uses, with a bit for each
	// established and udp are the timeouts of flows, which the kernel sets with each packet.
	established, udp time.Duration
	err              error // the policies could not be read: nothing is counted
}

// helperUse is an attachment and a destination port.
type helperUse struct {
	attachment int // index of AllRecords
	helperPortKey
}

type helperCount struct {
	Flows    int
	Assigned int            // flows that have a helper
	Example  conntrack.Flow // one without a helper
}

func newHelperFlows(n *Node) helperFlows {
	x := helperFlows{
		ByPort: map[helperUse]*helperCount{}, owners: n.Owners, age: make([]time.Duration, len(n.AllRecords)),
		established: n.conntrackTimeout("tcp_timeout_established", 5*24*time.Hour),
		udp:         n.conntrackTimeout("udp_timeout_stream", 120*time.Second),
	}
	all, err := n.activePolicies()
	if err != nil {
		x.err = err
		return x
	}
	x.policies = all.Of
	for i, r := range n.AllRecords {
		x.age[i] = n.Now.Sub(r.Created)
	}
	set := func(port uint16) { x.ports[port/64] |= 1 << (port % 64) }
	for k := range usualPorts {
		set(k.port)
	}
	for _, p := range all.Of {
		if p == nil {
			continue
		}
		for _, h := range p.Helpers {
			for _, port := range h.Ports {
				set(port)
			}
		}
	}
	return x
}

// add counts a flow that is a control connection, and that has had a packet since its
// attachment exists: older flows are of an earlier container with the same address.
func (x *helperFlows) add(f *conntrack.Flow) {
	port := f.Original.DstPort
	if x.ports[port/64]>>(port%64)&1 == 0 {
		return
	}
	var timeout time.Duration
	switch {
	case f.Original.Proto == unix.IPPROTO_TCP && f.Has(conntrack.HasState) && f.State == conntrack.TCPEstablished:
		timeout = x.established
	case f.Original.Proto == unix.IPPROTO_UDP && f.Status&conntrack.Assured != 0:
		timeout = x.udp
	default:
		return
	}
	from := x.owners.Index(f.Original.Src)
	// masqd's helpers redirect the flow to masqd.
	redirected := f.Status&conntrack.DstNAT != 0 && f.Reply.Src != f.Original.Dst
	if from < 0 || x.policies == nil || x.policies[from] == nil || !f.Translated() && !redirected || f.Status&conntrack.Expected != 0 {
		return
	}
	// The rest is more than the timeout if a rule or a program has set another one. The kernel
	// rounds the rest down to seconds.
	if !f.Has(conntrack.HasTimeout) || f.Timeout > timeout || timeout-f.Timeout-time.Second > x.age[from] {
		return
	}
	key := helperPortKey{f.Original.Proto, port}
	helper := configuredHelper(x.policies[from], key, masq.FamilyOf(f.Original.Src))
	if helper == "" && usualPorts[key] == "" {
		return // the port of another attachment's helper
	}
	kind, _ := masq.HelperKindOf(helper)
	if redirected && !kind.Daemon {
		return // another program's, for example to the address of a service
	}
	u := helperUse{from, key}
	c := x.ByPort[u]
	if c == nil {
		c = &helperCount{}
		x.ByPort[u] = c
	}
	c.Flows++
	if f.Helper != (conntrack.Helper{}) || redirected {
		c.Assigned++
	} else {
		c.Example = *f
	}
}

// protocolNames are the names of protocols that helpers have.
var protocolNames = map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}

// configuredHelper returns the helper that a policy has for a destination port, or "".
func configuredHelper(p *masq.Policy, key helperPortKey, family masq.Family) string {
	for _, h := range p.Helpers {
		kind, ok := masq.HelperKindOf(h.Name)
		if !ok {
			continue
		}
		for _, how := range kind.Assign {
			if how.Protocol != protocolNames[key.protocol] || how.IPv4Only && family != masq.IPv4 {
				continue
			}
			if slices.Contains(h.Ports, key.port) {
				return h.Name
			}
		}
	}
	return ""
}
