package flowstats

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestFairShare checks that neither an attachment nor a tenant displaces the rows of others,
// and that it has all rows if there are no others.
func TestFairShare(t *testing.T) {
	type row struct{ tenant, attachment string }
	of := func(r *row) origin { return origin{attachment: r.tenant + "/" + r.attachment, tenant: r.tenant} }
	a, b := row{"red", "a"}, row{"red", "b"}
	repeat := func(r row, n int) []row { return slices.Repeat([]row{r}, n) }
	victim := row{"blue", "v"}
	for name, c := range map[string]struct {
		all, want []row
		n         int
	}{
		"all fit":           {repeat(a, 3), repeat(a, 3), 10},
		"one owner":         {repeat(a, 20), repeat(a, 10), 10},
		"one attachment":    {slices.Concat(repeat(a, 50), []row{victim}), slices.Concat(repeat(a, 9), []row{victim}), 10},
		"a tenant's two":    {slices.Concat(repeat(a, 50), repeat(b, 50), repeat(victim, 9)), slices.Concat(repeat(a, 5), repeat(b, 2), repeat(victim, 3)), 10},
		"the order is kept": {[]row{a, victim, b, a, a, a}, []row{a, victim, b, a}, 4},
		"a single row":      {[]row{a, victim}, []row{a}, 1},
		"no rows":           {[]row{a}, []row{}, 0},
	} {
		if got := fairShare(c.all, c.n, of); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	// A tenant that has many pods with many destinations each.
	var all []row
	for i := range 100 {
		all = append(all, row{"red", fmt.Sprint(i)})
	}
	all = append(all, repeat(victim, 2)...)
	if got := fairShare(all, 10, of); !slices.Equal(got[8:], repeat(victim, 2)) {
		t.Errorf("the other tenant lacks rows: %v", got)
	}
}

func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

// record is an attachment with an address.
func record(i int, namespace, id, ifname string) store.Record {
	return store.Record{Attachment: masq.Attachment{
		Key: masq.Key{Network: "net", ContainerID: id, Interface: ifname}, Pod: masq.Pod{Namespace: namespace, Name: "pod-" + id},
		Addresses: []netip.Addr{address(i)},
	}}
}

// TestBusiestOfTenants checks that the attachments of one namespace do not displace others.
// The interfaces of a container have the same labels and count together.
func TestBusiestOfTenants(t *testing.T) {
	var records []store.Record
	for i := range 20 {
		records = append(records, record(i, "red", fmt.Sprint("r", i), "eth0"))
	}
	records = append(records, record(20, "blue", "v", "eth0"), record(21, "blue", "v", "net1"), record(22, "blue", "quiet", "eth0"))
	tally := report.NewTally(report.OwnersOf(records))
	for i, flows := range append(slices.Repeat([]int{100}, 20), 1, 2, 0) {
		for range flows {
			tally.Add(&conntrack.Flow{Original: conntrack.Tuple{Src: address(i), Dst: address(9999)}, Reply: conntrack.Tuple{Src: address(9999), Dst: address(i)}})
		}
	}
	got := busiest(records, tally, 4)
	if len(got) != 4 || got[3].Namespace != "blue" || got[3].Container != "v" || got[3].Flows != 3 {
		t.Errorf("got %+v", got)
	}
	if got := busiest(records, tally, 0); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

// TestStatesAreBounded checks that flows of all 256 protocols have few rows, and that each
// named protocol has its own.
func TestStatesAreBounded(t *testing.T) {
	tally := report.NewTally(report.OwnersOf(nil))
	for proto := range 256 {
		for _, status := range []conntrack.Status{0, conntrack.SeenReply, conntrack.Assured, conntrack.Offload} {
			tally.Add(&conntrack.Flow{Original: conntrack.Tuple{Proto: uint8(proto)}, Status: status})
		}
	}
	got, others := statesOf(tally), 0
	for _, s := range got {
		if s.Protocol == otherProtocols {
			others += s.Flows
		} else if _, ok := report.ParseProtocol(s.Protocol); !ok {
			t.Errorf("%+v", s)
		}
	}
	if known := len(report.Protocols()); others != 4*(256-known) || len(got) != 4*(known+1) {
		t.Errorf("%d rows, %d flows of protocols without a name", len(got), others)
	}
}

// TestDestinationsOfOthers checks that a container which uses the ports of many destinations
// does not hide the destination of another container.
func TestDestinationsOfOthers(t *testing.T) {
	records := []*store.Record{new(store.Record), new(store.Record)}
	*records[0], *records[1] = record(1, "", "attacker", "eth0"), record(2, "", "victim", "eth0")
	files := map[masq.Key]store.Record{records[0].Key: record(1, "red", "attacker", "eth0")}
	read := func(k masq.Key) (store.Record, bool, error) {
		if r, ok := files[k]; ok {
			return r, true, nil
		}
		return store.Record{}, false, errors.New("cannot be read")
	}
	origins := originsOf([]netip.Addr{address(1), address(2), address(3)}, records, read)
	if len(origins) != 2 || origins[address(1)].tenant != "namespace red" || origins[address(2)].tenant != "network net" {
		t.Errorf("origins are %+v", origins)
	}
	s := &Sampler{Options: Options{CachedRecords: func() []*store.Record { return records }, ReadRecord: read}}
	sample := &portpool.Sample{UnlistedShare: 0.01}
	group := func(i int, from netip.Addr, used int) {
		sample.Groups = append(sample.Groups, portpool.Forecast{Severity: portpool.Notice, Usage: portpool.Usage{
			Group: portpool.Group{Protocol: 6, Egress: address(0), Destination: address(1000 + i), Port: 443}, Usable: 1000, Used: used,
			Holders: []portpool.Holder{{Source: from, Ports: used}},
		}})
	}
	for i := range 50 {
		group(i, address(1), 900-i)
	}
	group(50, address(2), 800) // another tenant
	group(51, address(3), 790) // a pod of another plugin
	s.limitPorts(sample)
	if n := len(sample.Groups); n != 10 {
		t.Fatalf("%d destinations", n)
	}
	if sample.Groups[8].Holders[0].Source != address(2) || sample.Groups[9].Holders[0].Source != address(3) {
		t.Errorf("wrong destinations: %+v", sample.Groups)
	}
	// The fullest destination that is left out has this share.
	if sample.UnlistedShare != 0.892 {
		t.Errorf("the share of other destinations is at most %v", sample.UnlistedShare)
	}
}
