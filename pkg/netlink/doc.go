// Package netlink sends requests to the kernel over a netlink socket and receives its
// answers and notifications. It handles messages and attributes; the packages conntrack,
// nft, sockets and veth know their meaning.
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
// Get requests one object. Dump requests all objects of a kind, and is an iterator.
// Exchange sends a Batch in one system call, requests one acknowledgement, and reports the
// answers and errors of each message. The kernel answers a request before the system call
// that sent it returns, and makes the next part of a dump when a part is read. So no call
// waits.
//
// # Errors
//
// All answers are checked in one place. An incomplete answer is always an error:
//
//	ErrInterrupted  the objects changed during a dump (NLM_F_DUMP_INTR)
//	ErrOverrun      the kernel dropped messages (ENOBUFS), or one was cut
//	ErrNoAnswer     the kernel stopped before the end of the answer
//	ErrMalformed    a message or an attribute has an impossible length
//	*Error          an errno with the kernel's text (extended acknowledgement)
//	unix.Errno      an errno without text
//
// errors.Is finds an errno in either form, in an NLMSG_ERROR and at the end of a dump
// (NLMSG_DONE). After ErrInterrupted the caller can read again.
//
// # Memory
//
// A Conn reads into one buffer, and a Message refers to it: the message is valid until
// the next one. Nothing is allocated for a message.
//
// # To debug
//
// `strace -e trace=network,write` shows the messages, decoded. Tests
// script a kernel with package netlinktest.
package netlink
