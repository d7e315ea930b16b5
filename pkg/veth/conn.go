package veth

import "runtime"

// Conn makes, compares, repairs and deletes links in one network namespace, the node's. Its
// methods may be called by several goroutines.
type Conn struct {
	host *socket
	node namespace

	// allForwarding makes tests ignore force_forwarding, as before Linux 6.17.
	allForwarding bool
}

// Open returns a Conn for the network namespace of the calling thread.
func Open() (*Conn, error) {
	// The socket stays in the namespace of the thread that opened it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	host, err := dial(nodeBuffer)
	if err != nil {
		return nil, err
	}
	node, err := namespaceOf(host)
	if err != nil {
		host.close()
		return nil, err
	}
	return &Conn{host: host, node: node}, nil
}

// Close closes the socket and the namespace's file. Links stay. It always returns nil.
func (c *Conn) Close() error {
	c.host.close()
	c.node.close()
	return nil
}
