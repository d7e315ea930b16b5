package helpers

import "testing"

// TestConnectionsOf checks that helpers leave descriptors to the rest of masqd, whatever the
// limit is.
func TestConnectionsOf(t *testing.T) {
	for limit, want := range map[uint64]int{
		0: 4, 128: 4, 256: 4, 1024: 96, 4096: 480, 1 << 16: 4096, ^uint64(0): 4096,
	} {
		if got := connectionsOf(limit); got != want {
			t.Errorf("of %d descriptors: %d connections, want %d", limit, got, want)
		}
	}
	if n := maxConnections(); n < minConnections {
		t.Errorf("this process: %d connections", n)
	}
}
