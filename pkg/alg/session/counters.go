package session

import (
	"maps"
	"sync"
)

// Helper is the name of a protocol, as in the configuration.
type Helper string

// The helpers of this package.
const (
	HelperRTSP Helper = "rtsp"
	HelperPNA  Helper = "pna"
	HelperTalk Helper = "talk"
)

// Helpers lists all helpers.
var Helpers = []Helper{HelperRTSP, HelperPNA, HelperTalk}

// Reason is why something that a client or a server announced was not opened.
type Reason string

// The reasons.
const (
	ForeignAddress Reason = "foreign-address" // a message names a third host
	InvalidPorts   Reason = "ports"           // a message names ports that cannot be opened or were not requested
	Malformed      Reason = "malformed"       // a message is not valid, or its CSeq is missing or used twice
	LimitExceeded  Reason = "limit"           // of connections, streams, calls or ports
	NoPorts        Reason = "no-ports"        // the egress address has no free ports
	InUse          Reason = "in-use"          // another flow has the port
	Failed         Reason = "failed"          // the kernel refused
	Unreachable    Reason = "unreachable"     // the server does not accept the connection
)

// Reasons lists all reasons.
var Reasons = []Reason{ForeignAddress, InvalidPorts, Malformed, LimitExceeded, NoPorts, InUse, Failed, Unreachable}

// Protocol is why a connection was copied unread.
type Protocol string

// The protocols of connections that are copied unread.
const (
	TLS         Protocol = "tls"
	HTTP        Protocol = "http" // also RTSP through a tunnel of HTTP
	Other       Protocol = "other"
	Invalid     Protocol = "invalid"     // RTSP or PNA with an invalid or too long header
	SlowHeader  Protocol = "slow-header" // not complete within HeaderTimeout
	NotAskedFor Protocol = "not-asked"   // the address belongs to no attachment that asked for the helper
)

// Protocols lists all protocols.
var Protocols = []Protocol{TLS, HTTP, Other, Invalid, SlowHeader, NotAskedFor}

// Counts are the counters of one helper.
type Counts struct {
	Connections int               // now; paths of talk
	Opened      uint64            // media that were opened
	Refused     map[Reason]uint64 // has every reason
	Unreadable  map[Protocol]uint64
}

// Counters count what the sessions of a node do. The zero value is ready for use.
type Counters struct {
	mu     sync.Mutex
	counts map[Helper]*Counts
}

// Snapshot returns a copy of the counters, with every helper.
func (c *Counters) Snapshot() map[Helper]Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[Helper]Counts, len(Helpers))
	for _, h := range Helpers {
		n := *c.of(h)
		n.Refused, n.Unreadable = maps.Clone(n.Refused), maps.Clone(n.Unreadable)
		out[h] = n
	}
	return out
}

// of returns the counters of a helper. c.mu must be held.
func (c *Counters) of(h Helper) *Counts {
	if c.counts == nil {
		c.counts = map[Helper]*Counts{}
	}
	n := c.counts[h]
	if n == nil {
		n = &Counts{Refused: map[Reason]uint64{}, Unreadable: map[Protocol]uint64{}}
		for _, r := range Reasons {
			n.Refused[r] = 0
		}
		for _, p := range Protocols {
			n.Unreadable[p] = 0
		}
		c.counts[h] = n
	}
	return n
}

func (c *Counters) connections(h Helper, change int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of(h).Connections += change
}

func (c *Counters) opened(h Helper, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of(h).Opened += uint64(n)
}

func (c *Counters) refused(h Helper, r Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of(h).Refused[r]++
}

func (c *Counters) unreadable(h Helper, p Protocol) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of(h).Unreadable[p]++
}
