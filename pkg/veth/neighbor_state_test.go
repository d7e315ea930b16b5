package veth

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestUnresolved(t *testing.T) {
	for _, c := range []struct {
		state NeighborState
		want  bool
		text  string
	}{
		{NeighborState{}, false, "NONE"},
		{NeighborState{State: unix.NUD_REACHABLE}, false, "REACHABLE"},
		{NeighborState{State: unix.NUD_STALE}, false, "STALE"},
		{NeighborState{State: unix.NUD_PERMANENT}, false, "PERMANENT"},
		{NeighborState{State: unix.NUD_FAILED}, true, "FAILED"},
		{NeighborState{State: unix.NUD_FAILED, Unused: 6 * time.Minute}, false, "FAILED"},
		{NeighborState{State: unix.NUD_INCOMPLETE}, false, "INCOMPLETE"}, // the first request
		{NeighborState{State: unix.NUD_INCOMPLETE, Unchanged: time.Second}, true, "INCOMPLETE"},
		{NeighborState{State: unix.NUD_INCOMPLETE, Unchanged: time.Second, Unused: 6 * time.Minute}, false, "INCOMPLETE"},
	} {
		if got := c.state.Unresolved(); got != c.want || c.state.String() != c.text {
			t.Errorf("%+v: %t, %s", c.state, got, c.state)
		}
	}
}
