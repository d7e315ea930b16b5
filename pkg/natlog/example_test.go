package natlog_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/natlog"
)

// Find which pod used the egress port 40312 at half past twelve.
func Example() {
	dir, err := os.MkdirTemp("", "natlog")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the directory is temporary
	w, err := natlog.Open(dir, natlog.Options{MaxAge: 90 * 24 * time.Hour})
	if err != nil {
		panic(err)
	}
	server := netip.MustParseAddrPort("198.51.100.7:443")
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := natlog.Record{
		Time: noon, Kind: natlog.Begin, Proto: 6,
		Owner: natlog.Owner{
			Key: masq.Key{Network: "pods", ContainerID: "4f5e", Interface: "eth0"},
			Pod: masq.Pod{Namespace: "shop", Name: "cart-0"},
		},
		Original:   natlog.Tuple{Src: netip.MustParseAddrPort("10.88.0.5:51822"), Dst: server},
		Translated: natlog.Tuple{Src: netip.MustParseAddrPort("192.0.2.1:40312"), Dst: server},
	}
	if err := w.Append(&r); err != nil {
		panic(err)
	}
	r.Kind, r.Time, r.Duration = natlog.End, noon.Add(time.Hour), time.Hour
	if err := w.Append(&r); err != nil {
		panic(err)
	}
	if err := w.Flush(); err != nil { // or wait for FlushInterval
		panic(err)
	}

	at := noon.Add(30 * time.Minute)
	a, err := natlog.Find(context.Background(), dir, natlog.Query{Addr: r.Translated.Src, From: at, Until: at})
	if err != nil {
		panic(err)
	}
	for _, f := range a.Flows {
		fmt.Println(f.Owner.Namespace, f.Owner.Name, f.Original.Src, "until", f.End.UTC().Format(time.TimeOnly))
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	// Output: shop cart-0 10.88.0.5:51822 until 13:00:00
}
