package veth

import "runtime"

// Conn makes, checks and deletes links of one node. Its methods may be called
// by several goroutines.
type Conn struct {
	host *socket
	node namespace

	// allForwarding makes it do what it does before Linux 6.17, for tests.
	allForwarding bool
}

// Open binds to the network namespace of the calling thread.
func Open() (*Conn, error) {
	// The socket and, through it, everything else belong to the namespace that
	// this one call is made in.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	host, err := dial()
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

// Close releases the socket and the namespace. Links stay. It never fails.
func (c *Conn) Close() error {
	c.host.close()
	c.node.close()
	return nil
}
