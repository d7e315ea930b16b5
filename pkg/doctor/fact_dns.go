package doctor

import (
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

const (
	dnsPort = 53
	// dnsTimeout is how long a query waits for its answer: the timeout of resolvers
	// (RES_TIMEOUT of resolv.h, and of Go). A retry with the same socket begins it again.
	dnsTimeout = 5 * time.Second
	// maxDNSClients bounds the memory against a container that sends to many addresses.
	maxDNSClients = 8192
)

// dnsFlows counts the flows of containers to DNS servers.
type dnsFlows struct {
	Clients map[dnsClient]*dnsCount

	owners *report.Owners
	// age is the age of an attachment. A flow whose last packet is older belongs to an earlier
	// attachment with the same address.
	age []time.Duration
	// udp and syn are the timeouts of flows without an answer. The kernel sets the timeout of a
	// flow with each packet, so that the rest shows how long ago the last one was.
	udp, syn time.Duration
}

// dnsClient is an attachment and a server that it asks.
type dnsClient struct {
	Attachment int // index of Node.AllRecords
	Server     netip.Addr
	Protocol   uint8
}

// dnsCount counts flows. A flow has one or more queries: resolvers send those for IPv4 and
// IPv6 addresses, and retries, from one port.
type dnsCount struct {
	Answered   int
	Waiting    int // for less than dnsTimeout
	Unanswered int
	Translated int            // of Unanswered
	Last       conntrack.Flow // an unanswered flow
	Idle       time.Duration  // of Last
}

func newDNSFlows(n *Node) dnsFlows {
	x := dnsFlows{
		Clients: map[dnsClient]*dnsCount{}, owners: n.Owners, age: make([]time.Duration, len(n.AllRecords)),
		udp: n.conntrackTimeout("udp_timeout", 30*time.Second),
		syn: n.conntrackTimeout("tcp_timeout_syn_sent", 120*time.Second),
	}
	for i, r := range n.AllRecords {
		x.age[i] = n.Now.Sub(r.Created)
	}
	return x
}

// conntrackTimeout reads a timeout of conntrack. It returns the kernel's default if the
// setting cannot be read.
func (n *Node) conntrackTimeout(key string, byDefault time.Duration) time.Duration {
	s, err := n.sysctl("net/netfilter/nf_conntrack_" + key)
	if err != nil {
		return byDefault
	}
	seconds, err := strconv.Atoi(s)
	if err != nil {
		return byDefault
	}
	return time.Duration(seconds) * time.Second
}

func (x *dnsFlows) add(f *conntrack.Flow) {
	timeout := x.udp
	switch {
	case f.Original.DstPort != dnsPort:
		return
	case f.Original.Proto == unix.IPPROTO_UDP:
	case f.Original.Proto == unix.IPPROTO_TCP:
		timeout = x.syn
	default:
		return
	}
	if f.Original.Dst.IsMulticast() {
		return
	}
	from := x.owners.Index(f.Original.Src)
	if from < 0 {
		return
	}
	idle := timeout - f.Timeout // negative if a rule has set another timeout
	waits := f.Status&conntrack.SeenReply == 0
	// The rest of a timeout is in whole seconds, so that idle is up to a second too long.
	if waits && idle-time.Second > x.age[from] {
		return
	}
	k := dnsClient{from, f.Original.Dst, f.Original.Proto}
	c := x.Clients[k]
	if c == nil {
		if len(x.Clients) == maxDNSClients {
			return
		}
		c = &dnsCount{}
		x.Clients[k] = c
	}
	switch {
	case !waits:
		c.Answered++
	case !f.Has(conntrack.HasTimeout) || idle < dnsTimeout:
		c.Waiting++
	default:
		c.Unanswered++
		if f.Translated() {
			c.Translated++
		}
		if idle > c.Idle {
			c.Last, c.Idle = *f, idle
		}
	}
}
