package nft

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// TestCounters compares every counter with the listing of nft.
func TestCounters(t *testing.T) {
	c := kernel(t)
	if n, err := c.Counters(); err != nil || len(n.Rules) != 0 || len(n.Begun) != 0 {
		t.Fatalf("without a table: %+v, %v", n, err)
	}
	// Each counter has a different number, some of them large.
	text := ruleset.For(several(t), others(t), everyEgress).String()
	const zero = "counter packets 0 bytes 0"
	for i := 1; strings.Contains(text, zero); i++ {
		text = strings.Replace(text, zero, fmt.Sprintf("counter packets %d bytes %d", i, uint64(i)<<33), 1)
	}
	nftables(t, text, "-f", "-")
	nftables(t, "add table inet other\nadd chain inet other forward\nadd rule inet other forward counter", "-f", "-")
	nftables(t, "", "add", "rule", "inet", "masq", "forward", "counter", "comment", `"theirs"`)
	got, err := c.Counters()
	if err != nil {
		t.Fatal(err)
	}
	list := nftables(t, "", "-a", "list", "table", "inet", "masq")
	rules := strings.Count(list, "# handle ") - strings.Count(list, " { # handle ")
	if len(got.Rules) != rules {
		t.Errorf("%d rules, nft lists %d", len(got.Rules), rules)
	}
	counting := 0
	for _, r := range got.Rules {
		want := fmt.Sprintf("comment %q # handle %d\n", r.ID, r.Handle)
		at := strings.Index(list, want)
		if at < 0 {
			t.Errorf("%+v is not in\n%s", r, list)
			continue
		}
		line := list[strings.LastIndexByte(list[:at], '\n')+1 : at]
		if strings.Contains(line, "counter") != r.Counts || r.Counts && !strings.Contains(line, fmt.Sprintf("counter packets %d bytes %d ", r.Packets, r.Bytes)) {
			t.Errorf("%+v is %q", r, line)
		}
		if r.Counts {
			counting++
		}
	}
	if counting < 10 || len(got.Begun) != 6 {
		t.Errorf("only %d rules and %d elements have counters", counting, len(got.Begun))
	}
	for i, b := range got.Begun {
		want := fmt.Sprintf("%s counter packets %d bytes %d comment %q", b.Address, b.Packets, b.Bytes, b.Identity)
		if b.Packets == 0 || !strings.Contains(list, want) {
			t.Errorf("%s is not in\n%s", want, list)
		}
		if i > 0 && netip.MustParseAddr(got.Begun[i-1].Address).Compare(netip.MustParseAddr(b.Address)) >= 0 {
			t.Errorf("%s comes after %s", b.Address, got.Begun[i-1].Address)
		}
	}
}

// TestDriftWithPending: objects of pending attachments are no differences, whether they
// exist or not.
func TestDriftWithPending(t *testing.T) {
	c := kernel(t)
	moving := attachment("m", rich(t), "10.88.0.9")
	want, pending := ruleset.For(several(t), ruleset.Sources{}, everyEgress), ruleset.For([]masq.Attachment{moving}, ruleset.Sources{}, everyEgress)
	if _, err := c.Apply(want); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if all, err := c.Drift(want, pending); err != nil || len(all) != 0 {
			t.Errorf("%v, %v", all, err)
		}
		if err := c.Add(moving, hasAll, func() ([]masq.Attachment, error) { return append(several(t), moving), nil }, nil); err != nil {
			t.Fatal(err)
		}
	}
	// Without pending attachments there are differences.
	if all, err := c.Drift(want, ruleset.Table{}); err != nil || len(all) == 0 {
		t.Errorf("%v, %v", all, err)
	}
	nftables(t, "", "delete", "element", "inet", "masq", "policy4", "{ 10.88.0.6 }")
	if all, err := c.Drift(want, pending); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

// FuzzCounters: any answer gives a result or an error, never a panic.
func FuzzCounters(f *testing.F) {
	var key, item netlink.Encoder
	key.Bytes(unix.NFTA_DATA_VALUE, []byte{10, 88, 0, 5})
	item.Nest(unix.NFTA_SET_ELEM_KEY, key)
	var number, counter netlink.Encoder
	number.Uint64(unix.NFTA_COUNTER_PACKETS, 7)
	counter.Text(unix.NFTA_EXPR_NAME, "counter")
	counter.Nest(unix.NFTA_EXPR_DATA, number)
	several := slices.Clone(item)
	item.Nest(unix.NFTA_SET_ELEM_EXPR, counter)
	var list netlink.Encoder
	list.Nest(unix.NFTA_LIST_ELEM, counter)
	several.Nest(nftaSetElemExpressions, list)
	for _, b := range []netlink.Encoder{item, several} {
		if x, err := countedOf(b, decodeAddr); err != nil || x.Packets != 7 || x.key != "10.88.0.5" {
			f.Fatalf("%+v, %v", x, err)
		}
		f.Add([]byte(b))
	}
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = countedOf(b, decodeAddr) })
}
