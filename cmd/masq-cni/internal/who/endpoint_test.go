package who

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// mustParse parses a valid endpoint.
func mustParse(t *testing.T, text, to string) endpoint {
	t.Helper()
	q, err := parseEndpoint(text, to)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestEndpointMatches(t *testing.T) {
	tcp := conntrack.Tuple{Proto: unix.IPPROTO_TCP, Src: netip.MustParseAddr("198.51.100.2"), SrcPort: 443, Dst: netip.MustParseAddr("192.0.2.2"), DstPort: 4711}
	gre := tcp
	gre.Proto = unix.IPPROTO_GRE
	ping := conntrack.Tuple{Proto: unix.IPPROTO_ICMP, Src: tcp.Src, Dst: tcp.Dst, ID: 4711}
	ping6 := conntrack.Tuple{Proto: unix.IPPROTO_ICMPV6, Type: 129, Src: netip.MustParseAddr("2001:db8::2"), Dst: netip.MustParseAddr("2001:db8::3"), ID: 7}
	for _, tt := range []struct {
		text, to string
		want     []conntrack.Tuple
		lookups  int // 0 for a dump
	}{
		{"192.0.2.2:4711", "", []conntrack.Tuple{tcp, gre, ping}, 0},
		{"192.0.2.2:4711/tcp", "", []conntrack.Tuple{tcp}, 0},
		{"192.0.2.2:4711/TCP", "198.51.100.2", []conntrack.Tuple{tcp}, 0},
		{"192.0.2.2:4711/6", "198.51.100.2:443", []conntrack.Tuple{tcp}, 1},
		{"192.0.2.2:4711", "198.51.100.2:443", []conntrack.Tuple{tcp, gre}, 6},
		{"192.0.2.2:4711", "198.51.100.2", []conntrack.Tuple{tcp, gre, ping}, 0},
		{"192.0.2.2:4711/icmp", "", []conntrack.Tuple{ping}, 0},
		{"192.0.2.2:4711/icmp", "198.51.100.2", []conntrack.Tuple{ping}, 8},
		{"[::ffff:192.0.2.2]:4711/icmp", "::ffff:198.51.100.2", []conntrack.Tuple{ping}, 8},
		{"192.0.2.2:4711", "198.51.100.2:444", nil, 6},
		{"192.0.2.2:4711", "198.51.100.3", nil, 0},
		{"192.0.2.2:443", "", nil, 0},
		{"192.0.2.3:4711", "", nil, 0},
		{"198.51.100.2:443", "", nil, 0},
		{"192.0.2.2:4711/udp", "", nil, 0},
		{"[2001:db8::3]:7", "[2001:db8::2]", []conntrack.Tuple{ping6}, 0},
		{"[2001:db8::3%eth0]:7/icmp", "2001:db8::2%eth0", []conntrack.Tuple{ping6}, 4},
		{"[2001:db8::3]:8/icmpv6", "", nil, 0},
	} {
		q := mustParse(t, tt.text, tt.to)
		var got []conntrack.Tuple
		for _, x := range []conntrack.Tuple{tcp, gre, ping, ping6} {
			if q.match(&x) {
				got = append(got, x)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s --to %q: %v", tt.text, tt.to, got)
		}
		all := q.tuples()
		if len(all) != tt.lookups || slices.ContainsFunc(all, func(x conntrack.Tuple) bool { return !q.match(&x) || !x.Valid() }) {
			t.Errorf("%s --to %q is looked up as %v", tt.text, tt.to, all)
		}
		for _, x := range got {
			if len(all) > 0 && !slices.Contains(all, x) {
				t.Errorf("%s --to %q: the lookups %v leave out %v", tt.text, tt.to, all, x)
			}
			// The filter of the dump selects it too.
			f, filter := conntrack.Flow{Reply: x}, conntrack.Filter{Reply: q.tuple()}
			if len(all) == 0 && !filter.Match(&f) {
				t.Errorf("%s --to %q: the dump of %+v leaves out %v", tt.text, tt.to, filter, x)
			}
		}
	}
}

// TestDescribe checks that a flow is described by the container at the endpoint, not by the
// container at the other end.
func TestDescribe(t *testing.T) {
	var (
		s            node.Snapshot
		server, node = netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("192.0.2.2")
		addrs        = map[string]netip.Addr{"web": netip.MustParseAddr("10.88.0.2"), "db": netip.MustParseAddr("10.88.0.3")}
	)
	for _, name := range []string{"web", "db"} {
		r := store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "net", ContainerID: name, Interface: "eth0"}}}
		r.Addresses = []netip.Addr{addrs[name]}
		s.Records = append(s.Records, r)
	}
	s.Owners = report.OwnersOf(s.Records)
	flow := func(src netip.Addr, srcPort uint16, dst netip.Addr, dstPort uint16, answers netip.Addr, answersPort uint16, sees netip.Addr, seesPort uint16) conntrack.Flow {
		f := conntrack.Flow{
			Original: conntrack.Tuple{Proto: unix.IPPROTO_TCP, Src: src, SrcPort: srcPort, Dst: dst, DstPort: dstPort},
			Reply:    conntrack.Tuple{Proto: unix.IPPROTO_TCP, Src: answers, SrcPort: answersPort, Dst: sees, DstPort: seesPort},
		}
		if src != sees || srcPort != seesPort {
			f.Status |= conntrack.SrcNAT
		}
		if dst != answers || dstPort != answersPort {
			f.Status |= conntrack.DstNAT
		}
		return f
	}
	translated := flow(addrs["web"], 1000, server, 80, server, 80, node, 2000)
	direct := flow(addrs["web"], 1000, server, 80, server, 80, addrs["web"], 1000)
	published := flow(server, 3000, node, 8080, addrs["web"], 80, server, 3000)
	reached := flow(node, 4000, addrs["web"], 80, addrs["web"], 80, node, 4000)
	hairpin := flow(addrs["db"], 5000, node, 8080, addrs["web"], 80, node, 6000)
	for _, tt := range []struct {
		name, text string
		flow       conntrack.Flow
		found      bool
		pod, dir   string
		peer, note string
	}{
		{"translated", "192.0.2.2:2000", translated, true, "web", report.Out, "", ""},
		{"the source before translation", "10.88.0.2:1000", translated, false, "", "", "", ""},
		{"the server", "198.51.100.2:80", translated, false, "", "", "", ""},
		{"its own address", "10.88.0.2:1000", direct, true, "web", report.Out, "", "untranslated"},
		{"a published port", "192.0.2.2:8080", published, true, "web", report.In, "", ""},
		{"the target of a published port", "10.88.0.2:80", published, false, "", "", "", ""},
		{"the client of a published port", "198.51.100.2:3000", published, true, "", "", "", "unowned"},
		{"the node itself", "192.0.2.2:4000", reached, true, "", "", "", "unowned"},
		{"a port that is not translated", "10.88.0.2:80", reached, false, "", "", "", ""},
		{"from pod to pod", "192.0.2.2:6000", hairpin, true, "db", report.Out, "web", ""},
		{"from pod to pod, by a published port", "192.0.2.2:8080", hairpin, true, "web", report.In, "", ""},
	} {
		q := mustParse(t, tt.text, "")
		f, found := describe(s, q, &tt.flow, time.Time{})
		if found != tt.found || f.ContainerID != tt.pod || f.Direction != tt.dir || f.Peer.ContainerID != tt.peer {
			t.Errorf("%s: %s is %t, %+v", tt.name, tt.text, found, f)
		}
		if !found {
			continue
		}
		var n notes
		n.add(q, f)
		note := ""
		if len(n.untranslated) > 0 {
			note = "untranslated"
		}
		if len(n.unowned) > 0 {
			note += "unowned"
		}
		if note != tt.note {
			t.Errorf("%s: %s has the notes %+v", tt.name, tt.text, n)
		}
	}
}
