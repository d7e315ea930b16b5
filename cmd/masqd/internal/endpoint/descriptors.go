package endpoint

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// MaxConnections is the number of connections that an address serves at once.
	MaxConnections = 64
	// reservedDescriptors is the number of descriptors that connections leave to the rest of
	// masqd. A repair reads records and sysctls and opens netlink sockets, a few at a time.
	// Reading the web configuration and the certificates needs a few more.
	reservedDescriptors = 32
)

// Connections returns how many connections each of several addresses may have. The limit
// leaves file descriptors for repairs, whatever clients do. Call it after the process has
// opened the files that it keeps open.
func Connections(addresses int) int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return limitPerAddress(math.MaxInt32, 0, addresses)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return limitPerAddress(r.Cur, int(min(r.Cur, math.MaxInt32))/2, addresses)
	}
	return limitPerAddress(r.Cur, len(open), addresses)
}

// limitPerAddress divides the free descriptors among addresses. An address accepts one
// connection more than its limit before it closes another one.
func limitPerAddress(limit uint64, open, addresses int) int {
	left := int(min(limit, math.MaxInt32)) - open - reservedDescriptors
	return min(max(left/max(addresses, 1)-1, 1), MaxConnections)
}
