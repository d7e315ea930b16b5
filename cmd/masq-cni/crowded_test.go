package main

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// crowded makes a node with n attachments, each with a link and addresses of both families.
func crowded(tb testing.TB, n int) (state string, ns *nstest.NS) {
	tb.Helper()
	lab := nstest.New(tb)
	state = filepath.Join(tb.TempDir(), "state")
	ns, other := namespace(tb, lab, "a"), namespace(tb, lab, "b")
	var links bytes.Buffer
	var all []store.Record
	p := masq.Default()
	for i := range n {
		four := netip.AddrFrom4([4]byte{10, 88, byte(i / 250), byte(i%250 + 2)})
		six := netip.MustParseAddr(fmt.Sprintf("fd00:88::%x", i+2))
		a := masq.Attachment{
			Key: masq.Key{Network: "net", ContainerID: fmt.Sprintf("container%08d", i), Interface: "eth0"},
			Pod: masq.Pod{Namespace: "shop", Name: fmt.Sprintf("web-%d", i)}, Addresses: []netip.Addr{four, six}, Policy: &p,
		}
		all = append(all, store.Record{Attachment: a, Ready: true, Links: []string{a.HostName()}, MTU: 1500, Created: time.Now()})
		fmt.Fprintf(&links, "link add %s type veth peer name e%d netns %s\nlink set %[1]s up\nroute add %[4]s dev %[1]s\nroute add %[5]s dev %[1]s\n",
			a.HostName(), i, other.Name(), four, six)
	}
	c := ns.Command(tb.Context(), "ip", "-batch", "-")
	c.Stdin = &links
	if out, err := c.CombinedOutput(); err != nil {
		tb.Fatalf("make the links: %v\n%s", err, out)
	}
	err := ns.Do(func() error {
		records, err := store.Open(state)
		if err != nil {
			return err
		}
		for _, r := range all {
			if err := records.Put(r); err != nil {
				return err
			}
		}
		c, err := nft.Open()
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_, err = c.Apply(report.DesiredOf(all, nil, node.HasAddress).Table)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return state, ns
}

// BenchmarkCrowded runs commands on a node with 3,000 attachments. The goal for each is
// 300 ms.
func BenchmarkCrowded(b *testing.B) {
	state, ns := crowded(b, 3000)
	for _, words := range []string{"inspect", "inspect pod shop/web-1500", "inspect drift", "inspect pods", "who 192.0.2.9:40000"} {
		b.Run(strings.ReplaceAll(words, " ", "_"), func(b *testing.B) {
			begun := cpu(b)
			for b.Loop() {
				err := ns.Do(func() error {
					var diag bytes.Buffer
					if code := run(append(strings.Fields(words), "--state-dir", state), io.Discard, &diag); code > 1 {
						return fmt.Errorf("exit code %d\n%s", code, &diag)
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu(b)-begun).Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}

// cpu returns the processor time of this process. On a busy machine it varies less than the
// elapsed time.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
