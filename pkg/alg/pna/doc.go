// Package pna finds and replaces the UDP ports in the first message of PNA, the protocol of
// RealAudio before RTSP (TCP port 7070).
//
// # The message
//
// A client begins a connection with the letters PNA, a version of two bytes, and options. An
// option has an ID and a length of two bytes each, and a value. The ID 0 ends the options.
// Other data follow, which this package does not read. Numbers are in network byte order.
//
//	50 4e 41  00 0a  00 01 00 02 1b 58  00 00
//	PNA       10     UDP port 7000      end
//
// Options 1 and 7 are UDP ports of the client, for the stream and for error correction. A
// client that wants the stream in the connection has neither. Source: ip_masq_raudio.c of
// Linux 2.2, which was written from the protocol's description. The layout agrees with the
// requests of the players xine and mplayer (pnm.c).
//
// # Use
//
// The first message has no length, and a client may end it without the ID 0. So Parse reads
// as much as there is: the caller passes on Hello.Length bytes, keeps the rest, and calls
// Parse again with all bytes of the connection when more arrive. After Done or an error, it
// passes on everything.
//
//	h, err := pna.Parse(read)
//	for _, p := range h.Ports { // the ports that are new since the last call
//		h.Replace(read, p, opened)
//	}
//
// # Limits
//
// The options have at most MaxLength bytes and MaxPorts ports. Parse allocates the list of
// ports only.
//
// # Errors
//
// ErrNotPNA: the connection begins with something else, such as RTSP, which RealPlayer uses
// at the same port. ErrMalformed: a version or an option is not valid, or a limit is
// exceeded.
package pna
