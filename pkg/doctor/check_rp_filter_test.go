package doctor

import (
	"maps"
	"testing"
)

func TestParseNetstat(t *testing.T) {
	got := parseNetstat("TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 3 17\nIpExt: InNoRoutes\nIpExt: 4\n")
	if want := (map[string]uint64{"SyncookiesSent": 3, "IPReversePathFilter": 17, "InNoRoutes": 4}); !maps.Equal(got, want) {
		t.Error(got)
	}
	if got := parseNetstat("damaged\n"); len(got) != 0 {
		t.Error(got)
	}
}
