// Package rtsp reads and rewrites the control messages of RTSP (RFC 2326, RFC 7826) for a
// proxy between a client and its server, with a NAT between them. It uses no sockets and no
// clock: the caller connects, copies, and opens the ports.
//
//	r := rtsp.NewReader(conn)
//	for {
//		p, err := r.Next()
//		if err != nil {
//			break // not RTSP, or the end: after r.Raw(), Next returns the rest
//		}
//		if p.Message == nil || p.Message.Method != "SETUP" {
//			server.Write(p.Data) // unchanged
//			continue
//		}
//		out, mappings, err := rtsp.RewriteSetup(nil, p.Message, addresses, allocate)
//		...
//	}
//
// # Messages
//
// A Reader splits one direction of a control connection into headers and data. Data are
// message bodies and the frames that RTSP interleaves with messages ($, RFC 2326, section
// 10.12). Data are passed on in pieces and never stored.
// Packets do not matter: one can have several messages (pipelining) or a part of a message.
//
// Message.Transports parses the Transport header, which has one or several offers.
// RewriteSetup replaces the ports and the address of the client in a SETUP request.
// RewriteSetupAnswer replaces them in the answer, and returns the ports of the server. No
// other field of a header changes.
//
// # Limits
//
// A header has at most MaxHeader bytes and MaxLines lines, a Transport header MaxOffers
// offers with MaxParams parameters each. A Reader has a buffer of 4 KiB, which grows to
// MaxHeader while a long header arrives. If the source is a Waiter, the Reader has no buffer
// while it waits for a message. It allocates nothing for messages that are not parsed
// further.
//
// # Errors
//
// Input that is not RTSP is an error of Next: ErrTLS, ErrNotRTSP, ErrSyntax,
// ErrHeaderTooLong. The caller can pass the rest on unread, as a NAT without a helper
// does. ErrPorts and ErrForeignAddress are errors of the functions that rewrite: the
// message must not be passed on. AppendRefusal makes the answer for the client. Players
// react to status 461 with a request for a stream within the connection.
//
// # To debug
//
// messages_test.go has messages of the RFCs and of players as text. To see messages on the
// wire: tcpdump -A port 554.
package rtsp
