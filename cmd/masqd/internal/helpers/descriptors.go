package helpers

import (
	"math"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
)

const (
	// otherDescriptors are file descriptors that connections of helpers leave to the rest of
	// masqd: its sockets, repairs, and the clients of its HTTP endpoint.
	otherDescriptors = 256
	// minConnections is for a limit that is too low to leave so many.
	minConnections = 4
)

// maxConnections returns how many connections the helpers may have. Each takes two
// descriptors: containers can take a quarter of the descriptors of the process, so that
// connections in a loop cannot stop repairs.
func maxConnections() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return session.MaxConnections
	}
	return connectionsOf(r.Cur)
}

// connectionsOf returns the number of connections for a limit of descriptors.
func connectionsOf(limit uint64) int {
	const share, each = 4, 2
	left := int(min(limit, math.MaxInt32)) - otherDescriptors
	return min(max(left/(share*each), minConnections), session.MaxConnections)
}
