package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/sockets"
)

// symptom is what a connection shows of a fault.
type symptom uint8

// The symptoms.
const (
	healthy symptom = iota
	// synUnanswered: the SYN was sent again, without an answer.
	synUnanswered
	// noAck: a segment was sent again several times, without an acknowledgement.
	noAck
	// largeLost: as noAck for a full segment, while acknowledgements of later, smaller segments
	// arrive or the peer sends.
	largeLost
	// largeUnacked: as noAck for a full segment, and only smaller segments were ever
	// acknowledged. A peer that stopped to answer looks the same.
	largeUnacked
	// gap: later data arrived, and a segment before them has been missing for long. No full
	// segment has ever arrived.
	gap
	// noData: the peer acknowledged a request, and sent nothing. A slow peer looks the same.
	noData
)

const (
	// minRetransmits is the number of retransmissions without progress that are a symptom:
	// with the smallest RTO of 0.2 s the fourth is sent after 3 s.
	minRetransmits = 4
	// minSYNs is the same for SYNs. The first is sent again after 1 s, and the third time after
	// 3 s (net.ipv4.tcp_syn_linear_timeouts) or 7 s.
	minSYNs = 3
	// minWait is how long received data or an answer are waited for.
	minWait = 5 * time.Second
	// minClientHello is the size of a small TLS ClientHello.
	minClientHello = 100
	// tcpOptions is the largest size of the options in a TCP header, by which a segment may be
	// smaller than the MSS.
	tcpOptions = 40
)

// tlsPorts are ports of protocols in which the client sends a TLS ClientHello first. The server
// answers it at once, mostly with its certificates, which fill more than one segment.
var tlsPorts = []uint16{443, 465, 563, 636, 853, 989, 990, 993, 995, 5671, 6443, 8443}

// symptomOf returns the symptom of a connection. waits: noData is a symptom on any port.
func symptomOf(c *sockets.Connection, waits bool) symptom {
	switch {
	case c.State == sockets.SynSent:
		if c.Retransmits >= minSYNs {
			return synUnanswered
		}
		return healthy
	case c.Inode == 0: // closed: nothing waits for it
		return healthy
	case c.Unacked > 0 && c.Retransmits >= minRetransmits:
		s := unackedSymptom(c)
		if isIncoming(c) && s != largeLost {
			return healthy
		}
		return s
	case isIncoming(c):
		return healthy
	case c.State != sockets.Established && c.State != sockets.FinWait1:
		return healthy // the peer has sent all of its data
	case c.Unread == 0 && c.ReceiveMemory > 0 && c.RcvOOO > 0 && c.LastDataRecv >= minWait && !gotFullSegment(c):
		return gap
	case c.Unacked == 0 && c.BytesReceived == 0 && c.BytesAcked > 1 && c.LastDataSent >= minWait && c.LastDataRecv >= minWait &&
		(waits || c.BytesAcked > minClientHello && slices.Contains(tlsPorts, c.Remote.Port())):
		return noData
	}
	return healthy
}

// isIncoming reports whether the container probably accepted the connection: its port is not
// one that the kernel chooses by default (net.ipv4.ip_local_port_range), and the peer's may be.
// Clients disappear on healthy networks too: such a connection has a symptom only if
// acknowledgements still arrive.
func isIncoming(c *sockets.Connection) bool {
	const firstChosen, firstUnprivileged = 32768, 1024
	return c.Local.Port() < firstChosen && c.Remote.Port() >= firstUnprivileged
}

// unackedSymptom returns the symptom of a connection that retransmits.
func unackedSymptom(c *sockets.Connection) symptom {
	switch {
	case c.Unsent < c.SndMSS: // the segment that is sent again is not a full one
		return noAck
	case c.LastAckRecv < c.RTO/2: // after the last retransmission but one
		return largeLost
	case c.Sacked > 0 && !isIncoming(c):
		return largeLost
	case c.BytesAcked <= uint64(c.SndMSS):
		return largeUnacked
	}
	return noAck
}

// gotFullSegment reports whether a segment of the offered MSS may have arrived.
func gotFullSegment(c *sockets.Connection) bool {
	// The kernel estimates up to 536 bytes before it has received any (tcp_initialize_rcv_mss).
	const initial = 536
	if c.AdvMSS > initial+tcpOptions {
		return c.RcvMSS+tcpOptions >= c.AdvMSS
	}
	return 2*c.BytesReceived >= uint64(c.AdvMSS)*uint64(c.DataSegsIn) // by the mean size
}

// stuckTime returns a lower bound of the time since the connection made progress.
func stuckTime(c *sockets.Connection) time.Duration {
	// The RTO doubled with each retransmission, the last of which was LastDataSent ago.
	return c.RTO - c.RTO>>c.Backoff + c.LastDataSent
}

// maxSocketGroups and maxGroupContainers bound the memory.
const (
	maxSocketGroups    = 1024
	maxGroupContainers = 1000
)

// socketFacts are connections with symptoms, by destination.
type socketFacts struct {
	groups map[socketKey]*socketGroup
	waits  bool
}

// socketKey identifies a group. The port of remote is 0 for connections that the containers
// accepted, at the port local.
type socketKey struct {
	symptom
	remote netip.AddrPort
	local  uint16
}

func socketKeyOf(s symptom, c *sockets.Connection) socketKey {
	if s != synUnanswered && isIncoming(c) {
		return socketKey{s, netip.AddrPortFrom(c.Remote.Addr(), 0), c.Local.Port()}
	}
	return socketKey{s, c.Remote, 0}
}

// socketGroup are connections to one destination that have the same symptom.
type socketGroup struct {
	socketKey
	count      int
	containers []int // indices of the first attachment of each
	worst      sockets.Connection
	worstOf    int // the container of worst
}

func newSocketFacts(waits bool) socketFacts {
	return socketFacts{groups: map[socketKey]*socketGroup{}, waits: waits}
}

func (x *socketFacts) add(s symptom, c *sockets.Connection, container int) {
	k := socketKeyOf(s, c)
	g := x.groups[k]
	if g == nil {
		if len(x.groups) == maxSocketGroups {
			return
		}
		g = &socketGroup{socketKey: k}
		x.groups[k] = g
	}
	if !slices.Contains(g.containers, container) && len(g.containers) < maxGroupContainers {
		g.containers = append(g.containers, container)
	}
	if g.count++; g.count == 1 || c.Retransmits > g.worst.Retransmits || c.Retransmits == g.worst.Retransmits && stuckTime(c) > stuckTime(&g.worst) {
		g.worst, g.worstOf = *c, container
	}
}

// with returns the groups that have one of the symptoms: those with the most connections first,
// and in a stable order.
func (x *socketFacts) with(all ...symptom) (out []*socketGroup) {
	for k, g := range x.groups {
		if slices.Contains(all, k.symptom) {
			slices.Sort(g.containers)
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b *socketGroup) int {
		return cmp.Or(b.count-a.count, slices.Index(all, a.symptom)-slices.Index(all, b.symptom), a.remote.Compare(b.remote), int(a.local)-int(b.local))
	})
	return out
}

// evidence returns what the kernel has of the worst connection.
func (g *socketGroup) evidence(n *Node) Evidence {
	c := &g.worst
	return Evidence{
		fmt.Sprintf("TCP_INFO of %s > %s in %s", c.Local, c.Remote, n.Owners.At(g.worstOf).Pod()),
		fmt.Sprintf("%s, retransmits %d, backoff %d, rto %s, unacked %d, sacked %d, snd_mss %d, rcv_mss %d, advmss %d, pmtu %d, "+
			"bytes_acked %d, bytes_received %d, rcv_ooopack %d, last_data_sent %s, last_data_recv %s, last_ack_recv %s",
			c.State, c.Retransmits, c.Backoff, c.RTO, c.Unacked, c.Sacked, c.SndMSS, c.RcvMSS, c.AdvMSS, c.PMTU,
			c.BytesAcked, c.BytesReceived, c.RcvOOO, c.LastDataSent, c.LastDataRecv, c.LastAckRecv),
	}
}

// remedy returns the remedy to measure the path of the worst connection.
func (g *socketGroup) remedy(n *Node, text string) Remedy {
	command := "masq-cni doctor pod " + report.ShellQuote(n.Owners.At(g.worstOf).Pod())
	if g.local == 0 {
		command += " --to " + report.ShellQuote(g.remote.String())
	}
	return Remedy{Text: text, Commands: []string{command}}
}

// maxSocketFindings is the number of findings of one check. The others are one finding.
const maxSocketFindings = 10

// shortened replaces findings beyond maxSocketFindings by one.
func shortened(all []Finding) []Finding {
	if len(all) <= maxSocketFindings+1 {
		return all
	}
	rest := all[maxSocketFindings:]
	last := rest[0]
	last.Message = fmt.Sprintf("have the same fault, the first: %s", last)
	last.Object = report.Plural(len(rest), "more destination")
	return append(all[:maxSocketFindings:maxSocketFindings], last)
}
