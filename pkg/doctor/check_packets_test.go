package doctor

import "testing"

const snmp4Text = `Ip: Forwarding DefaultTTL ForwDatagrams OutRequests ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates
Ip: 1 64 1000 500 40 300 100 60 7 8 9
Tcp: RtoAlgorithm MaxConn InSegs InCsumErrors
Tcp: 1 -1 20 3
Udp: InDatagrams InCsumErrors
Udp: 50 200
`

const snmp6Text = `Ip6OutForwDatagrams             	5
Ip6ReasmFails                   	6
Udp6InCsumErrors                	7
Icmp6InCsumErrors               	8
`

func TestSNMP(t *testing.T) {
	x := snmp{}
	x.parse4(snmp4Text)
	x.parse6(snmp6Text)
	for name, want := range map[string]uint64{
		"Ip.ForwDatagrams": 1000, "Ip.ReasmFails": 60, "Ip.FragCreates": 9, "Tcp.InSegs": 20, "Tcp.InCsumErrors": 3, "Udp.InCsumErrors": 200,
		"Ip6.OutForwDatagrams": 5, "Ip6.ReasmFails": 6, "Udp6.InCsumErrors": 7, "Icmp6.InCsumErrors": 8, "Tcp.MaxConn": 0,
	} {
		if x[name] != want {
			t.Errorf("%s is %d, want %d", name, x[name], want)
		}
	}
	for _, text := range []string{"", "Ip:", "Ip: A\nIp:\n", "Ip: A B\nIp: 1\nTcp: A\nTcp: x\n", "\n\n"} {
		y := snmp{}
		y.parse4(text)
		y.parse6(text)
		if len(y) > 0 {
			t.Errorf("%q: %v", text, y)
		}
	}
}

func TestPacketThresholds(t *testing.T) {
	for _, c := range []struct {
		name                string
		x                   snmp
		fragments, checksum int
	}{
		{"nothing", snmp{}, 0, 0},
		{"some fragments are lost", snmp{"Ip.ReasmFails": 49}, 0, 0},
		{"few of many fragments are lost", snmp{"Ip.ReasmFails": 500, "Ip.ReasmOKs": 5001}, 0, 0},
		{"fragments are lost", snmp{"Ip.ReasmFails": 50, "Ip.ReasmOKs": 500}, 1, 0},
		{"few of many packets are fragmented", snmp{"Ip.FragCreates": 1000, "Ip.OutRequests": 90_000, "Ip.ForwDatagrams": 10_001}, 0, 0},
		{"packets are fragmented", snmp{"Ip.FragCreates": 1000, "Ip.OutRequests": 90_000, "Ip.ForwDatagrams": 10_000}, 1, 0},
		{"some checksums are wrong", snmp{"Tcp.InCsumErrors": 99, "Udp.InCsumErrors": 100, "Udp.InDatagrams": 10_001}, 0, 0},
		{"checksums are wrong", snmp{"Tcp.InCsumErrors": 100, "Tcp.InSegs": 10_000}, 0, 1},
	} {
		if got := len(c.x.fragments("Ip", "IPv4")); got != c.fragments {
			t.Errorf("%s: %d findings of fragments", c.name, got)
		}
		if got := len(c.x.checksums()); got != c.checksum {
			t.Errorf("%s: %d findings of checksums", c.name, got)
		}
	}
}
