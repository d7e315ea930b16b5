package doctor

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// testNode has n attachments with the addresses 10.0.0.1 and so on, which are an hour old.
func testNode(n int) *Node {
	x := &Node{Now: time.Unix(1e9, 0), facts: map[string]any{}}
	addr := netip.MustParseAddr("10.0.0.0")
	for i := range n {
		addr = addr.Next()
		x.AllRecords = append(x.AllRecords, store.Record{
			Attachment: masq.Attachment{
				Key: masq.Key{Network: "net", ContainerID: string(rune('a' + i)), Interface: "eth0"}, Addresses: []netip.Addr{addr},
			},
			Ready: true, Created: x.Now.Add(-time.Hour),
		})
	}
	x.Records, x.Owners = x.AllRecords, report.OwnersOf(x.AllRecords)
	return x
}

// dnsFlow is a query of an attachment whose last packet came some time ago.
func dnsFlow(from int, server string, idle time.Duration, status conntrack.Status) *conntrack.Flow {
	t := conntrack.Tuple{
		Src: netip.AddrFrom4([4]byte{10, 0, 0, byte(from + 1)}), Dst: netip.MustParseAddr(server),
		SrcPort: 40000, DstPort: 53, Proto: unix.IPPROTO_UDP,
	}
	return &conntrack.Flow{
		Original: t, Reply: conntrack.Tuple{Src: t.Dst, Dst: t.Src, SrcPort: t.DstPort, DstPort: t.SrcPort, Proto: t.Proto},
		Status: status, Timeout: 30*time.Second - idle, Fields: conntrack.HasTimeout,
	}
}

func TestSilentServers(t *testing.T) {
	type flows struct {
		from   int
		idle   time.Duration
		status conntrack.Status
		count  int
	}
	for _, c := range []struct {
		name  string
		flows []flows
		want  report.Severity
		found int // containers
	}{
		{"nothing", nil, "", 0},
		{"answered", []flows{{0, 20 * time.Second, conntrack.SeenReply, 5}}, "", 0},
		{"on the way", []flows{{0, 4 * time.Second, 0, 5}}, "", 0},
		{"one", []flows{{0, 5 * time.Second, 0, 1}}, report.SeverityWarning, 1},
		{"one of two containers", []flows{{0, 5 * time.Second, 0, 1}, {1, 9 * time.Second, 0, 1}}, report.SeverityError, 2},
		{"two", []flows{{0, 5 * time.Second, 0, 2}}, report.SeverityError, 1},
		{"one is lost", []flows{{0, 5 * time.Second, 0, 1}, {0, 5 * time.Second, conntrack.SeenReply, 1}}, "", 0},
		{"few are lost", []flows{{0, 5 * time.Second, 0, 10}, {0, 5 * time.Second, conntrack.SeenReply, 21}}, "", 0},
		{"many are lost", []flows{{0, 5 * time.Second, 0, 10}, {0, 5 * time.Second, conntrack.SeenReply, 20}}, report.SeverityWarning, 1},
		{"another container is answered", []flows{{0, 5 * time.Second, 0, 2}, {1, 5 * time.Second, conntrack.SeenReply, 2}}, report.SeverityError, 1},
		{"an earlier container", []flows{{2, 25 * time.Second, 0, 5}}, "", 0},
		{"no container", []flows{{100, 25 * time.Second, 0, 5}}, "", 0},
	} {
		n := testNode(3)
		n.AllRecords[2].Created = n.Now.Add(-time.Second)
		x := newFlowFacts(n)
		x.DNS.udp = 30 * time.Second
		for _, f := range c.flows {
			for range f.count {
				x.add(dnsFlow(f.from, "192.0.2.53", f.idle, f.status))
			}
		}
		got := silentServers(x.DNS.Clients, n.examines)
		switch {
		case c.want == "" && len(got) > 0, c.want != "" && (len(got) != 1 || got[0].severity != c.want || len(got[0].clients) != c.found):
			t.Errorf("%s: %+v", c.name, got)
		}
		for _, s := range got {
			t.Log(s.finding(n))
		}
	}
}

// TestFlowFactsAllocateNothing: a flow of a client that is known allocates nothing.
func TestFlowFactsAllocateNothing(t *testing.T) {
	x := newFlowFacts(testNode(1))
	query, other := dnsFlow(0, "192.0.2.53", 6*time.Second, 0), dnsFlow(0, "192.0.2.53", 0, 0)
	other.Original.DstPort = 443
	if n := testing.AllocsPerRun(100, func() { x.add(query); x.add(other) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for i := range 2 * maxDNSClients {
		query.Original.Dst = netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		x.add(query)
	}
	if len(x.DNS.Clients) != maxDNSClients {
		t.Errorf("%d clients", len(x.DNS.Clients))
	}
}
