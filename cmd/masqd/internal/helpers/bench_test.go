package helpers

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// BenchmarkTableSync measures the work for one more attachment on a node with 10,000.
func BenchmarkTableSync(b *testing.B) {
	f := &fakeOwned{}
	table := newTable(func() (owned, error) { return f, nil })
	p := rtspPolicy()
	var all []masq.Attachment
	for i := range 10000 {
		all = append(all, masq.Attachment{
			Key:       masq.Key{Network: "net", ContainerID: fmt.Sprint("c", i), Interface: "eth0"},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 88, byte(i >> 8), byte(i)})}, Policy: p,
		})
	}
	for i := 0; b.Loop(); i++ {
		if err := table.sync(input{attachments: all[:len(all)-i%2], listeners: listening}); err != nil {
			b.Fatal(err)
		}
	}
}
