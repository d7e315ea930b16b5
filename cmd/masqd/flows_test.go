package main

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/pressure"
)

// However often somebody asks, samples take a hundredth of a core at most.
func TestSamplesArePaced(t *testing.T) {
	var s sampler
	begun := time.Now()
	if !s.due(begun) {
		t.Error("the first is not taken at once")
	}
	for took, wait := range map[time.Duration]time.Duration{
		time.Millisecond: freshness, 150 * time.Millisecond: 15 * time.Second, time.Second: 100 * time.Second, 3 * time.Second: 5 * time.Minute,
	} {
		s.last.Sampled, s.last.Took = begun, took
		if s.due(begun.Add(wait)) || !s.due(begun.Add(wait+time.Millisecond)) {
			t.Errorf("after one that took %s the next is not taken after %s", took, wait)
		}
	}
	if s.busy = true; s.due(begun.Add(time.Hour)) {
		t.Error("another begins while one is under way")
	}
}

// Who asks whether all is well is told where source ports run out, and when.
func TestShortage(t *testing.T) {
	group := func(proto uint8, to string, port uint16, used int, level pressure.Level, left time.Duration) pressure.Pressure {
		g := pressure.Group{Protocol: proto, Egress: netip.MustParseAddr("192.0.2.2"), Destination: netip.MustParseAddr(to), Port: port}
		return pressure.Pressure{Use: pressure.Use{Group: g, Usable: 20, Used: used}, Level: level, ExhaustedIn: left}
	}
	got := shortageOf(&pressure.Sample{LostNow: pressure.Losses{NoPort: 3}, Groups: []pressure.Pressure{
		group(unix.IPPROTO_TCP, "198.51.100.2", 443, 20, pressure.Critical, 0),
		group(unix.IPPROTO_UDP, "198.51.100.2", 53, 17, pressure.Warning, pressure.Never),
		group(unix.IPPROTO_ICMP, "198.51.100.3", 8<<8, 11, pressure.Warning, 90*time.Second),
		group(unix.IPPROTO_TCP, "198.51.100.4", 443, 14, pressure.Notice, time.Hour),
		group(unix.IPPROTO_TCP, "198.51.100.5", 443, 1, pressure.Calm, pressure.Never),
	}})
	want := []string{
		"source ports: 100 % of those of 192.0.2.2 for tcp to 198.51.100.2:443 are in use; masq-cni inspect ports shows which pods hold them",
		"source ports: 85 % of those of 192.0.2.2 for udp to 198.51.100.2:53 are in use; masq-cni inspect ports shows which pods hold them",
		"source ports: 55 % of those of 192.0.2.2 for icmp to 198.51.100.3 type 8 are in use, all of them in 1m30s; masq-cni inspect ports shows which pods hold them",
	}
	if !slices.Equal(got.reasons, want) || got.exhausted != "192.0.2.2 for tcp to 198.51.100.2:443" {
		t.Errorf("%q\nnot %q; %q", got.reasons, want, got.exhausted)
	}
	if got := shortageOf(&pressure.Sample{Lost: pressure.Losses{NoPort: 3}}); got.reasons != nil || got.exhausted != "" {
		t.Errorf("%+v", got)
	}
}
