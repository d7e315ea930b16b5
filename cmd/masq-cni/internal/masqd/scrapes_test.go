package masqd

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// TestScrapes checks that connections to port 9468 of the node are hidden and counted, and
// connections with another port, protocol or node are not.
func TestScrapes(t *testing.T) {
	node := netip.MustParseAddr("192.0.2.2")
	asked := 0
	local := func(a netip.Addr) (bool, error) {
		if asked++; a == netip.MustParseAddr("192.0.2.9") {
			return true, errors.New("query failed")
		}
		return a == node, nil
	}
	flow := func(proto uint8, to string) *conntrack.Flow {
		p := netip.MustParseAddrPort(to)
		return &conntrack.Flow{Reply: conntrack.Tuple{Proto: proto, Src: p.Addr(), SrcPort: p.Port()}}
	}
	s := Scrapes{isLocal: local}
	for _, tt := range []struct {
		flow *conntrack.Flow
		want bool
	}{
		{flow(unix.IPPROTO_TCP, "192.0.2.2:9468"), true},
		{flow(unix.IPPROTO_TCP, "192.0.2.2:9468"), true},
		{flow(unix.IPPROTO_TCP, "192.0.2.2:9469"), false},
		{flow(unix.IPPROTO_UDP, "192.0.2.2:9468"), false},
		{flow(unix.IPPROTO_TCP, "192.0.2.3:9468"), false},
	} {
		if got := s.Hides(tt.flow); got != tt.want {
			t.Errorf("%+v: %t", tt.flow.Reply, got)
		}
	}
	if s.hidden != 2 || asked != 2 || s.Note() != "2 connections to the HTTP endpoint of masqd are not shown; --scrapes shows them" {
		t.Errorf("%d hidden, %d asked, %q", s.hidden, asked, s.Note())
	}
	s.health = 9469
	if !s.Hides(flow(unix.IPPROTO_TCP, "192.0.2.2:9469")) || !s.Hides(flow(unix.IPPROTO_TCP, "192.0.2.2:9468")) || s.Hides(flow(unix.IPPROTO_TCP, "192.0.2.2:0")) {
		t.Error("with a port for probes, one of the two ports is not hidden")
	}
	all := Scrapes{isLocal: local, Show: true}
	if all.Hides(flow(unix.IPPROTO_TCP, "192.0.2.2:9468")) || all.Note() != "" {
		t.Error("hidden with --scrapes")
	}
}

// TestScrapesOfTheLog checks that connections to any masqd are left out of the NAT log's flows
// if there are others.
func TestScrapesOfTheLog(t *testing.T) {
	to := func(port uint16) report.Flow {
		return report.Flow{Protocol: "tcp", Translated: report.Tuple{Destination: netip.MustParseAddr("192.0.2.3"), DestinationPort: port}}
	}
	for _, tt := range []struct {
		ports  []uint16
		show   bool
		shown  int
		hidden string
	}{
		{nil, false, 0, ""},
		{[]uint16{443}, false, 1, ""},
		{[]uint16{9468, 443}, false, 1, "1 connection to the HTTP endpoint of masqd is not shown; --scrapes shows them"},
		{[]uint16{9468, 443}, true, 2, ""},
		{[]uint16{9468, 9468}, false, 2, ""},
	} {
		var flows []report.Flow
		for _, p := range tt.ports {
			flows = append(flows, to(p))
		}
		s := Scrapes{Show: tt.show}
		if got := s.Filter(flows); len(got) != tt.shown || s.Note() != tt.hidden {
			t.Errorf("%+v: %d shown, %q", tt, len(got), s.Note())
		}
	}
}

// TestReadPorts checks that the ports come from the lock of masqd.
func TestReadPorts(t *testing.T) {
	lock := filepath.Join(t.TempDir(), "masqd.lock")
	read := func() [2]uint16 {
		var s Scrapes
		s.ReadPorts(lock)
		return [2]uint16{s.port, s.health}
	}
	if got := read(); got != [2]uint16{} {
		t.Errorf("without a lock: %d", got)
	}
	for text, want := range map[string][2]uint16{
		"": {}, "{}": {}, `{"listen":"192.0.2.2:9999"}`: {9999}, `{"listen":"[::]:1234"}`: {1234}, `{"listen":"x"}`: {},
		`{"listen":"[::]:9999","health":"127.0.0.1:9998"}`: {9999, 9998}, `{"health":"unix:/run/s"}`: {},
	} {
		if err := os.WriteFile(lock, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := read(); got != want {
			t.Errorf("%s: %d", text, got)
		}
	}
}
