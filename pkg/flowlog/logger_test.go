package flowlog

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/leasehistory"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/pkg/store"
)

var (
	attached = netip.MustParseAddr("10.88.0.5")
	optedOut = netip.MustParseAddr("10.88.0.6")
	source   = netip.MustParseAddr("10.244.0.7")
	other    = netip.MustParseAddr("192.0.2.9")
)

// openLogger returns a Logger of two attachments and a source, which writes to a directory.
func openLogger(t *testing.T, direct DirectFlows) *Logger {
	t.Helper()
	w, err := natlog.Open(t.TempDir(), natlog.Options{MaxTotalBytes: natlog.MinTotalBytes})
	if err != nil {
		t.Fatal(err)
	}
	record := func(id string, a netip.Addr, direct bool) *store.Record {
		return &store.Record{Attachment: masq.Attachment{
			Key: masq.Key{Network: "n", ContainerID: id, Interface: "eth0"}, Addresses: []netip.Addr{a}, Policy: &masq.Policy{EgressDirect: direct},
		}}
	}
	records := []*store.Record{record("a", attached, false), record("o", optedOut, true)}
	l := &Logger{Options: Options{
		Writer: w, Direct: direct, Log: slog.New(slog.DiscardHandler),
		Leases: leasehistory.New(leasehistory.Source{
			Snapshot: func() ([]*store.Record, uint64) { return records, 1 },
			Refresh:  func() error { return nil },
			Read:     func(masq.Key) (store.Record, bool, error) { return store.Record{}, false, nil },
		}),
		Sources: func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")} },
	}}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func flowEvent(from netip.Addr, translated bool) *conntrack.Event {
	e := &conntrack.Event{Kind: conntrack.FlowNew, Flow: conntrack.Flow{
		Original: conntrack.Tuple{Proto: 6, Src: from, SrcPort: 40000, Dst: other, DstPort: 443},
		Reply:    conntrack.Tuple{Proto: 6, Src: other, SrcPort: 443, Dst: from, DstPort: 40000},
	}}
	if translated {
		e.Flow.Status = conntrack.SrcNAT
		e.Flow.Reply.Dst = netip.MustParseAddr("192.0.2.1")
	}
	return e
}

// TestLoggedFlows checks which flows each value of --nat-log-direct selects.
func TestLoggedFlows(t *testing.T) {
	for direct, want := range map[DirectFlows]map[netip.Addr]bool{
		DirectNone:     {},
		DirectOptedOut: {optedOut: true},
		DirectAll:      {optedOut: true, attached: true, source: true},
	} {
		l := openLogger(t, direct)
		for _, from := range []netip.Addr{attached, optedOut, source, other} {
			for _, translated := range []bool{false, true} {
				before := l.Writer.Stats().Appended
				l.add(flowEvent(from, translated))
				logged := l.Writer.Stats().Appended > before
				if wanted := translated && from != other || want[from]; logged != wanted {
					t.Errorf("--nat-log-direct=%s: flow from %s, translated %t: logged is %t", direct, from, translated, logged)
				}
			}
		}
	}
}

// TestProxiedFlow checks that a flow that the node began for a container is logged as the
// container's, and that another flow of the node is not logged.
func TestProxiedFlow(t *testing.T) {
	l := openLogger(t, DirectNone)
	client := netip.AddrPortFrom(attached, 5000)
	l.Proxied = func(proto uint8, a netip.AddrPort) (netip.AddrPort, bool) {
		return client, proto == unix.IPPROTO_TCP && a.Port() == 40000
	}
	for _, translated := range []bool{true, false} {
		e := flowEvent(other, translated)
		before := l.Writer.Stats().Appended
		l.add(e)
		if l.Writer.Stats().Appended != before+1 || l.record.Original.Src != client || l.record.Owner.ContainerID != "a" {
			t.Errorf("translated %t: the record is %+v", translated, l.record)
		}
		e.Flow.Original.SrcPort++
		l.add(e)
		if l.Writer.Stats().Appended != before+1 {
			t.Errorf("translated %t: a flow of the node was logged: %+v", translated, l.record)
		}
	}
}

// TestRecordOfDestroyEvent checks that the record has the kernel's times and counters.
func TestRecordOfDestroyEvent(t *testing.T) {
	e := flowEvent(attached, true)
	e.Kind = conntrack.FlowDestroy
	e.Flow.Fields |= conntrack.HasTimestamps
	e.Flow.Start, e.Flow.Stop = int64(10*time.Second), int64(12*time.Second)
	e.Flow.OriginalCounters.Packets, e.Flow.ReplyCounters.Bytes = 3, 400
	r := recordOf(e, time.Now())
	if r.Kind != natlog.End || !r.Time.Equal(time.Unix(12, 0)) || r.Duration != 2*time.Second || r.Packets[0] != 3 || r.Bytes[1] != 400 {
		t.Errorf("record: %+v", r)
	}
	if r.Translated.Src.Addr() != netip.MustParseAddr("192.0.2.1") || r.Original.Src.Addr() != attached {
		t.Errorf("addresses: %v, %v", r.Original, r.Translated)
	}
	echo := flowEvent(attached, true)
	echo.Flow.Original = conntrack.Tuple{Proto: 1, Src: attached, Dst: other, ID: 7, Type: 8}
	echo.Flow.Reply.ID = 9
	if r := recordOf(echo, time.Now()); r.ICMP != 8<<8 || r.Original.Src.Port() != 7 || r.Translated.Src.Port() != 9 {
		t.Errorf("record of an echo request: %+v", r)
	}
}
