package nft

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

func many(n int) []masq.Attachment {
	p := masq.Default()
	all := make([]masq.Attachment, n)
	for i := range all {
		all[i] = masq.Attachment{
			Key:       masq.Key{Network: "net", ContainerID: fmt.Sprintf("%064d", i), Interface: "eth0"},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 88, byte(i >> 8), byte(i)})},
			Policy:    &p, SpoofCheck: true,
		}
	}
	return all
}

// BenchmarkApply makes the table of 1,000 attachments again, as after a flush.
func BenchmarkApply(b *testing.B) {
	c := kernel(b)
	all := many(1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Apply(ruleset.For(all, ruleset.Sources{}, everyEgress)); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := c.Uninstall(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkCompare compares the table of 1,000 attachments, and finds no difference.
func BenchmarkCompare(b *testing.B) {
	c := kernel(b)
	all := many(1000)
	if _, err := c.Apply(ruleset.For(all, ruleset.Sources{}, everyEgress)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if changes, err := c.Apply(ruleset.For(all, ruleset.Sources{}, everyEgress)); err != nil || len(changes) > 0 {
			b.Fatal(changes, err)
		}
	}
}

// BenchmarkOtherTables reads a table of another program with a chain for each of 1,000
// containers.
func BenchmarkOtherTables(b *testing.B) {
	c := kernel(b)
	var s strings.Builder
	s.WriteString("table ip nat {\n")
	for i := range 1000 {
		fmt.Fprintf(&s, "chain CNI-%d { ip daddr != 224.0.0.0/4 masquerade; }\n", i)
	}
	s.WriteString("chain POSTROUTING { type nat hook postrouting priority 100;\n")
	var addresses []netip.Addr
	for i, a := 0, netip.MustParseAddr("10.88.0.1"); i < 1000; i, a = i+1, a.Next() {
		addresses = append(addresses, a)
		fmt.Fprintf(&s, "ip saddr %s jump CNI-%d\n", a, i)
	}
	s.WriteString("}; }\n")
	nftables(b, s.String(), "-f", "-")
	for b.Loop() {
		if all, err := c.OtherSourceNAT(addresses, []string{"uplink"}); err != nil || len(all) == 0 {
			b.Fatal(len(all), err)
		}
	}
}
