package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// masqdPort is the port of masqd's HTTP endpoint, unless --listen of masqd says otherwise.
const masqdPort = 9468

// scrapes recognizes connections to the HTTP endpoint of masqd, which Prometheus, kubelet's
// probes and other programs open to ask whether masqd is ready. These connections say
// nothing about the traffic of pods, and each leaves a flow in the table for two minutes.
type scrapes struct {
	show bool
	port uint16
	// health is the port of --health-listen of masqd, or 0.
	health uint16
	// local reports whether packets to an address are the node's own; nil: the kernel is
	// asked.
	local func(netip.Addr) (bool, error)
	known map[netip.Addr]bool // what local has said
	links *veth.Conn          // of local
	// hidden is how many were left out.
	hidden int
}

func (s *scrapes) flag(c *cobra.Command) {
	c.Flags().BoolVar(&s.show, "scrapes", false, fmt.Sprintf("show connections to masqd's HTTP endpoint too: TCP to port %d, or to that of its --listen", masqdPort))
}

// readPorts reads the ports of the masqd that works on the records, or did last, from its
// lock.
func (s *scrapes) readPorts(lock string) {
	s.port = masqdPort
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
func (s *scrapes) isPort(port uint16) bool { return port == s.port || port == s.health && port != 0 }

// hides reports whether a flow of the kernel's table goes to the masqd of this node, and
// counts it. An address that cannot be looked up is not the node's.
func (s *scrapes) hides(f *conntrack.Flow) bool {
	if s.show || f.Reply.Proto != unix.IPPROTO_TCP || !s.isPort(f.Reply.SrcPort) {
		return false
	}
	here, asked := s.known[f.Reply.Src]
	if !asked {
		here, _ = s.isLocal(f.Reply.Src)
		if s.known == nil {
			s.known = map[netip.Addr]bool{}
		}
		if len(s.known) < maxKnown {
			s.known[f.Reply.Src] = here
		}
	}
	if here {
		s.hidden++
	}
	return here
}

// isLocal asks the kernel, unless local is given. It opens what close closes.
func (s *scrapes) isLocal(a netip.Addr) (here bool, err error) {
	if s.local != nil {
		return s.local(a)
	}
	if s.links == nil {
		if s.links, err = veth.Open(); err != nil {
			return false, err
		}
	}
	return s.links.HasAddress(a)
}

func (s *scrapes) close() {
	if s.links != nil {
		_ = s.links.Close()
		s.links = nil
	}
}

// maxKnown bounds the addresses that are remembered: any pod may ask any address for the
// port.
const maxKnown = 4096

// split parts the flows of the NAT log into connections to the port of masqd, on any
// node, and all others, which it returns. If there are no others, it returns all flows:
// the query selected these connections.
func (s *scrapes) split(all []report.Flow) []report.Flow {
	if s.show {
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

// note says how many flows were left out, empty for none.
func (s *scrapes) note() string {
	if s.hidden == 0 {
		return ""
	}
	are := "are"
	if s.hidden == 1 {
		are = "is"
	}
	return fmt.Sprintf("%s to the HTTP endpoint of masqd %s not shown; --scrapes shows them", strings.Replace(count(uint32(s.hidden)), "flow", "connection", 1), are)
}
