package probe

import (
	"maps"
	"slices"
	"testing"
)

func TestCounterFiles(t *testing.T) {
	for name, c := range map[string]struct {
		read func([]byte, func(string, uint64))
		text string
		want map[string]uint64
	}{
		"snmp":  {pairs, "Ip: Forwarding OutNoRoutes\nIp: 1 7\nTcp: MaxConn RetransSegs\nTcp: -1 3\n", map[string]uint64{"Ip.Forwarding": 1, "Ip.OutNoRoutes": 7, "Tcp.RetransSegs": 3}},
		"snmp6": {lines, "Ip6InDiscards                    \t5\nbad\n", map[string]uint64{"Ip6InDiscards": 5}},
		"dev": {
			devices, "Inter-|   Receive\n face |bytes packets errs drop\n  eth0: 100 2 3 4 0 0 0 0 200 5 6 7 0 0 0 0\nshort: 1 2\n",
			map[string]uint64{"eth0.rx_packets": 2, "eth0.rx_errors": 3, "eth0.rx_dropped": 4, "eth0.tx_packets": 5, "eth0.tx_errors": 6, "eth0.tx_dropped": 7},
		},
		"neighbors": {neighbors("arp"), "entries  allocs res_failed unresolved_discards table_fulls\n0a 1 0f 1 0\n0a 1 01 0 2\n", map[string]uint64{"arp.res_failed": 16, "arp.unresolved_discards": 1, "arp.table_fulls": 2}},
	} {
		got := map[string]uint64{}
		c.read([]byte(c.text), func(name string, v uint64) { got[name] += v })
		if !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestCountersSince(t *testing.T) {
	grown := Counters{"Ip.OutNoRoutes": 5, "eth0.tx_packets": 9, "eth0.tx_dropped": 2, "Ip.InDiscards": 1}.Since(Counters{"Ip.OutNoRoutes": 3, "Ip.InDiscards": 1})
	if !maps.Equal(grown, Counters{"Ip.OutNoRoutes": 2, "eth0.tx_packets": 9, "eth0.tx_dropped": 2}) {
		t.Errorf("%v", grown)
	}
	if got := grown.Losses(); !slices.Equal(got, []string{"Ip.OutNoRoutes", "eth0.tx_dropped"}) {
		t.Errorf("losses %v", got)
	}
}
