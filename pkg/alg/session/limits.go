package session

import "time"

// The limits of sessions. A container and its server can be hostile: these values bound
// what they can take from the node. Each refusal is counted.
const (
	// MaxConnections is for all attachments, unless Options has a lower number. As many take
	// about 60 MB (BenchmarkMemory).
	MaxConnections = 4096
	// MaxAttachmentConnections leaves room for other containers. A recorder of video has a
	// connection for each camera, and rarely more cameras.
	MaxAttachmentConnections = 256
	// MaxStreams is for each connection. Players have one to four streams.
	MaxStreams = 32
	// MaxPending is the number of SETUP requests of a connection without an answer. Players
	// send one at a time.
	MaxPending = 32
	// MaxAttachmentPorts is the number of reserved ports of an attachment: 2 streams with 2
	// ports for each connection.
	MaxAttachmentPorts = 1024
	// MinPort is the lowest port that a server is told. Ports below belong to services of
	// the node.
	MinPort = 1024
)

const (
	// HeaderTimeout is how long a header may take from its first byte to its last. After
	// it, the connection is copied unread.
	HeaderTimeout = 30 * time.Second
	// ConnectTimeout is for the connection to the server.
	ConnectTimeout = 10 * time.Second
	// RenewInterval is how often media are renewed while the control connection lives. After
	// its first packet, a flow without an answer ends in 30 s, whatever its timeout was before
	// (nf_conntrack_udp_timeout).
	RenewInterval = 20 * time.Second
	// MediaTimeout is how long media stay open without a renewal and without packets. It
	// is the timeout of UDP streams in conntrack (nf_conntrack_udp_timeout_stream, 120 s)
	// and a pause.
	MediaTimeout = 3 * time.Minute
	// HalfClosedTimeout is how long one direction may be silent after the other has ended. It
	// is conntrack's (nf_conntrack_tcp_timeout_fin_wait): a NAT without a helper forgets such
	// a connection too.
	HalfClosedTimeout = 2 * time.Minute
	// KeepAlive is the interval of TCP keepalive on both sides. Silence for hours is
	// normal, so there is no other idle timeout.
	KeepAlive = 30 * time.Second
)

// keepAliveProbes is the number of probes without an answer that end a connection.
const keepAliveProbes = 4
