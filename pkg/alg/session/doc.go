// Package session speaks RTSP, PNA and talk on behalf of containers: it copies control
// connections between a container and its server, replaces the addresses and ports that
// they announce, and asks the node to open the ports that were announced. It knows the node
// only as the interface Node.
//
//	server := session.NewServer(session.Options{Node: node, Counters: &counters, Log: log})
//	server.Serve(ctx, conn, originalDestination) // for each redirected connection
//
// # RTSP
//
// Two goroutines copy, one in each direction. Only these messages change:
//
//	SETUP          client_port and destination: ports that Node.Reserve returns, at the egress address
//	its answer     the same, back. Node.Open is called for each port before the client gets the answer
//	TEARDOWN       unchanged. After the answer 200, Node.Close is called for the ports of the session
//
// Other messages, bodies and interleaved frames do not change. Requests of the server are
// passed on too. Their sequence numbers (CSeq) do not depend on those of the client.
//
// A refused SETUP is answered with status 461, and nothing is open. Players then ask for a
// stream within the connection. If several requests are on their way, the refusal can arrive
// before the answers to earlier ones; CSeq says to which request it belongs.
//
// A session of RTSP outlives its connection (RFC 2326, section 1.3). While the connection
// lives, its media are renewed, so a paused stream stays open. After it they end by their
// timeout, and their ports are reserved until MediaTimeout has passed. If packets keep a flow
// alive for longer, its port can be reserved again. For a session with the same port of the
// same server, Node.Open then returns ErrInUse.
//
// # PNA
//
// A connection that begins with PNA is not RTSP. Its first message has UDP ports, which are
// replaced and opened before the server gets them. PNA has no refusal: if a port cannot be
// opened, it is not replaced.
//
// # Unreadable connections
//
// The rest of a connection is copied unread, as a NAT without a helper does, if it is TLS,
// HTTP, or another protocol, if a header is invalid, longer than 16 KiB or not complete within
// HeaderTimeout. From then on, the client's requests are not rewritten, in whichever direction
// this was, and nothing is opened for them.
//
// # Limits
//
// Container and server can be hostile. A container can announce only its own address. A
// server can name only itself, and only the ports that it was told. A port that stands for
// the container's is never below MinPort. The constants of this package bound connections,
// streams, requests without an answer, and ports, for each attachment or connection. A
// session without a message on its way has two goroutines and no buffers: 1,000 sessions with
// two streams take 15 MB (BenchmarkMemory). Nothing is allocated for interleaved frames.
//
// The end of one direction is passed on as such, and a reset as a reset. The end of the context
// ends both connections: see Serve. A half-closed connection ends after HalfClosedTimeout of
// silence; there is no other idle timeout. TCP keepalive finds peers that have vanished.
//
// # To debug
//
// Counters.Snapshot has the number of connections, of opened media, of refusals by reason,
// and of unread connections by protocol. Each refusal is logged at level debug, with the
// attachment, both ends and the error. To see the messages of both connections on the node:
//
//	tcpdump -A -i any port 554
//
// The tests run sessions in memory, with the clock of testing/synctest: see lab_test.go.
// FuzzSession runs any two streams through a session.
package session
