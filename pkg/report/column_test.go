package report

import (
	"net/netip"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestOrders: numbers are in descending order, words in alphabetical order, and missing values
// are last.
func TestOrders(t *testing.T) {
	at := func(source string, port uint16, nat string) Flow {
		u := Tuple{Source: netip.MustParseAddr(source), SourcePort: port}
		return Flow{Original: u, Translated: u, NAT: nat}
	}
	a, b := at("10.0.0.9", 5, "none"), at("10.0.0.10", 1, "dnat")
	a.PodNamespace, a.PodName, a.Bytes.Reply, a.Timeout = "shop", "web", 10, 1
	b.Bytes.Original, b.Duration, a.State, b.Mark = 11, 1, "assured", 1
	isOrder(t, FlowColumns(), a, b, map[string]int{
		"POD": -1, "SOURCE": -1, "TRANSLATED": 1, "STATE": -1, "BYTES": 1, "AGE": 1, "TIMEOUT": 1, "MARK": 1,
	})
	early, late := record("aaaa56789", "shop", "web", nil, "10.88.0.2"), record("bbbb56789", "", "", nil, "10.88.0.10")
	late.Created = noon
	all := AttachmentsOf([]store.Record{early, late}, DesiredOf([]store.Record{early, late}, nil, hasAll), []Count{{Flows: 1, Incoming: 2}, {Flows: 2}}, nil)
	isOrder(t, AttachmentColumns(func() time.Time { return noon }), all[0], all[1], map[string]int{
		"POD": 1, "ADDRESSES": -1, "FLOWS": 1, "INCOMING": -1, "CONTAINER": -1, "LINKS": -1, "AGE": -1,
	})
	soon, never, second := PortGroup{Used: 1, Share: .5}, PortGroup{Used: 1, Share: .9}, Seconds(time.Second)
	soon.ExhaustedIn, soon.Egress, never.Egress = &second, addr("192.0.2.1"), addr("192.0.2.1")
	isOrder(t, PortColumns(), soon, never, map[string]int{"SHARE": 1, "LEFT": -1})
}

// isOrder compares two rows by each column. want has the results by column; the default is 0.
func isOrder[T any](t *testing.T, columns []Column[T], a, b T, want map[string]int) {
	t.Helper()
	for _, c := range columns {
		if got := c.Compare(&a, &b); got != want[c.Name] || c.Compare(&b, &a) != -want[c.Name] {
			t.Errorf("%s: got %d, want %d", c.Name, got, want[c.Name])
		}
		delete(want, c.Name)
	}
	for name := range want {
		t.Errorf("there is no column %s", name)
	}
}

// TestVisibleColumns: only a wide style has wide columns, and no cell is empty.
func TestVisibleColumns(t *testing.T) {
	narrow, wide := VisibleColumns(FlowColumns(), Style{}), VisibleColumns(FlowColumns(), Style{Wide: true})
	if len(narrow) != 6 || len(wide) != len(FlowColumns()) {
		t.Errorf("got %d columns, and %d wide columns", len(narrow), len(wide))
	}
	for _, f := range append(described(), Flow{}) {
		for i, c := range Cells(wide, &f) {
			if c == "" {
				t.Errorf("%s of %+v is empty", wide[i].Name, f)
			}
		}
	}
}
