// Package netlink sends requests to the kernel over a netlink socket and receives
// its answers and notifications. It knows messages and attributes; what they mean
// is known by the packages above: conntrack, nft and wire.
//
//	c, err := netlink.Dial(unix.NETLINK_NETFILTER, netlink.DumpBuffer)
//	defer c.Close()
//	for m, err := range c.Dump(typ, 0, header, attributes) {
//		if err != nil {
//			return err
//		}
//		...
//	}
//
// # Requests
//
// Get asks for one object. Dump asks for all objects of a kind, and gives them as
// an iterator. Exchange sends a Batch in one system call, asks for one
// acknowledgement, and reports the answers and errors of each message. The kernel
// answers a request before the system call that sent it returns, and makes the
// later parts of a dump while the earlier ones are read, so nothing ever waits.
//
// # Errors
//
// All answers pass one check. An answer that is not complete is never a success:
//
//	ErrInterrupted  the objects changed during a dump (NLM_F_DUMP_INTR)
//	ErrOverrun      the kernel dropped messages (ENOBUFS), or one was cut
//	ErrNoAnswer     the kernel stopped before the end of the answer
//	ErrMalformed    a message or an attribute says a length that it does not have
//	*Error          an errno with the kernel's text (extended acknowledgement)
//	unix.Errno      an errno without text
//
// An errno is found by errors.Is in either form, in an NLMSG_ERROR and at the end
// of a dump (NLMSG_DONE). After ErrInterrupted a caller can read again.
//
// # Memory
//
// A Conn reads into one buffer and a Message refers to it: the message is valid
// until the next one. Nothing is allocated for a message.
//
// # To debug
//
// `strace -e trace=network,write` shows the messages, decoded. Tests script a
// kernel with package netlinktest.
package netlink
