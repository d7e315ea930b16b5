package veth

import "runtime"

// Wire makes, checks and deletes links of one node. Its methods may be called
// by several goroutines.
type Wire struct {
	host *conn
	node namespace

	// allForwarding makes it do what it does before Linux 6.17, for tests.
	allForwarding bool
}

// Open binds to the network namespace of the calling thread.
func Open() (*Wire, error) {
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
	return &Wire{host: host, node: node}, nil
}

// Close releases the socket and the namespace. Links stay. It never fails.
func (w *Wire) Close() error {
	w.host.close()
	w.node.close()
	return nil
}
