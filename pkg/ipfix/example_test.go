package ipfix_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/pkg/ipfix"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/natlog"
)

// Send the begin of a flow of the pod shop/cart-0 to a collector.
func Example() {
	there, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		panic(err)
	}
	defer there.Close()

	collector, err := ipfix.ParseCollector(there.LocalAddr().String())
	if err != nil {
		panic(err)
	}
	x, err := ipfix.Open(context.Background(), ipfix.Options{Collector: collector})
	if err != nil {
		panic(err)
	}
	server := netip.MustParseAddrPort("198.51.100.7:443")
	err = x.Append(&natlog.Record{
		Time: time.Now(), Kind: natlog.Begin, Proto: 6,
		Owner: natlog.Owner{
			Key: masq.Key{Network: "pods", ContainerID: "4f5e", Interface: "eth0"},
			Pod: masq.Pod{Namespace: "shop", Name: "cart-0"},
		},
		Original:   natlog.Tuple{Src: netip.MustParseAddrPort("10.88.0.5:51822"), Dst: server},
		Translated: natlog.Tuple{Src: netip.MustParseAddrPort("192.0.2.1:40312"), Dst: server},
	})
	if err != nil {
		panic(err)
	}
	x.Close()
	fmt.Println("sent:", x.Stats().Sent, "lost:", x.Stats().Lost)
	message := make([]byte, 1500)
	n, err := there.Read(message)
	fmt.Println("version:", message[1], "first set:", message[17], "whole:", n == int(message[2])<<8|int(message[3]), err)
	// Output:
	// sent: 1 lost: 0
	// version: 10 first set: 2 whole: true <nil>
}
