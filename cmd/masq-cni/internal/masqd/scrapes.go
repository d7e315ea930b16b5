package masqd

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// defaultPort is the port of masqd's HTTP endpoint without --listen.
const defaultPort = 9468

// maxKnown bounds the addresses whose kind Scrapes remembers: a pod may try the port at any
// number of addresses.
const maxKnown = 4096

// Scrapes recognizes connections to the HTTP endpoint of masqd. Prometheus, probes of the
// kubelet and other programs open them to read metrics or readiness. They tell nothing
// about the traffic of pods, and each leaves a flow in the table for two minutes.
type Scrapes struct {
	// Show is true if the connections are to be shown too.
	Show   bool
	port   uint16 // of --listen of masqd; 0 means defaultPort
	health uint16 // of --health-listen of masqd, or 0
	// isLocal reports whether an address is the node's own. Nil asks the kernel.
	isLocal func(netip.Addr) (bool, error)
	known   map[netip.Addr]bool // results of isLocal
	links   *veth.Conn          // opened by the first query, closed by Close
	hidden  int
}

// Flag declares --scrapes for a command.
func (s *Scrapes) Flag(c *cobra.Command) {
	c.Flags().BoolVar(&s.Show, "scrapes", false, fmt.Sprintf("show connections to masqd's HTTP endpoint too: TCP to port %d, or to that of its --listen", defaultPort))
}

// ReadPorts reads the ports of the node's present or last masqd from the lock with this
// path.
func (s *Scrapes) ReadPorts(lock string) {
	f, err := os.Open(lock)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	d := store.ReadDaemon(f)
	if at, err := netip.ParseAddrPort(d.Listen); err == nil {
		s.port = at.Port()
	}
	if at, err := netip.ParseAddrPort(d.Health); err == nil {
		s.health = at.Port()
	}
}

// isPort reports whether masqd serves HTTP on a port.
func (s *Scrapes) isPort(port uint16) bool {
	return port == cmp.Or(s.port, defaultPort) || port == s.health && port != 0
}

// Hides reports whether a flow of the conntrack table goes to the masqd of this node and is
// not to be shown, and counts it. If an address cannot be looked up, the flow is shown.
func (s *Scrapes) Hides(f *conntrack.Flow) bool {
	if s.Show || f.Reply.Proto != unix.IPPROTO_TCP || !s.isPort(f.Reply.SrcPort) {
		return false
	}
	local, ok := s.known[f.Reply.Src]
	if !ok {
		local, _ = s.lookUp(f.Reply.Src)
		if s.known == nil {
			s.known = map[netip.Addr]bool{}
		}
		if len(s.known) < maxKnown {
			s.known[f.Reply.Src] = local
		}
	}
	if local {
		s.hidden++
	}
	return local
}

func (s *Scrapes) lookUp(a netip.Addr) (local bool, err error) {
	if s.isLocal != nil {
		return s.isLocal(a)
	}
	if s.links == nil {
		if s.links, err = veth.Open(); err != nil {
			return false, err
		}
	}
	return s.links.HasAddress(a)
}

// Close closes what Hides opened.
func (s *Scrapes) Close() {
	if s.links != nil {
		_ = s.links.Close()
		s.links = nil
	}
}

// Filter returns the flows of the NAT log that do not go to the port of masqd, on any node.
// If all flows go there, Filter returns them all: the query selected them.
func (s *Scrapes) Filter(all []report.Flow) []report.Flow {
	if s.Show {
		return all
	}
	var others []report.Flow
	for _, f := range all {
		if f.Protocol != report.Protocol(unix.IPPROTO_TCP) || !s.isPort(f.Translated.DestinationPort) {
			others = append(others, f)
		}
	}
	if len(others) == 0 {
		return all
	}
	s.hidden = len(all) - len(others)
	return others
}

// Note tells how many connections are not shown. Empty if there are none.
func (s *Scrapes) Note() string {
	if s.hidden == 0 {
		return ""
	}
	are := "are"
	if s.hidden == 1 {
		are = "is"
	}
	return fmt.Sprintf("%s to the HTTP endpoint of masqd %s not shown; --scrapes shows them", report.Plural(s.hidden, "connection"), are)
}
