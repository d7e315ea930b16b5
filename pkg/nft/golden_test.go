package nft

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/golden"
)

func TestNftAcceptsTheGoldenRulesets(t *testing.T) {
	kernel(t)
	files, err := filepath.Glob("../ruleset/testdata/*.nft")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, f := range files {
		nftables(t, "flush ruleset", "-f", "-")
		nftables(t, "", "-c", "-f", f)
		nftables(t, "", "-f", f)
		want, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		differ(t, nftables(t, "", "list", "ruleset"), string(want))
	}
}

// TestNftAcceptsTheGoldenHelperTables: nft lists the tables for masqd's helpers as their files are.
// nft would delete a table that it owns, so the flag is left out.
func TestNftAcceptsTheGoldenHelperTables(t *testing.T) {
	kernel(t)
	files, err := filepath.Glob("../ruleset/testdata/helpers/*.nft")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, f := range files {
		nftables(t, "flush ruleset", "-f", "-")
		nftables(t, "", "-c", "-f", f)
		want, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(want), "\tflags owner\n\n", "", 1)
		nftables(t, text, "-f", "-")
		differ(t, listed.ReplaceAllString(nftables(t, "", "list", "ruleset"), ""), text)
	}
}

// TestTransitions compares the listing after each step in which attachments are added or
// removed.
func TestTransitions(t *testing.T) {
	helped := masq.Default()
	helped.Helpers = []masq.Helper{{Name: "ftp", Ports: []uint16{21}}}
	a, b, c := attachment("a", helped, "10.88.0.5", "fd00:88::5"), attachment("b", masq.Default(), "10.88.0.5"), attachment("c", masq.Default(), "10.88.0.6")
	conn := kernel(t)
	present := []masq.Attachment{}
	add := func(x masq.Attachment) func() error {
		return func() error {
			present = append(present, x)
			return conn.Add(x, hasAll, func() ([]masq.Attachment, error) { return present, nil }, nil)
		}
	}
	remove := func(x masq.Attachment) func() error { return func() error { return conn.Remove(x, hasAll) } }
	for _, step := range []struct {
		golden string
		do     func() error
	}{
		{"1-add-a", add(a)},
		{"2-add-c", add(c)},
		{"3-add-b-with-an-address-of-a", add(b)},
		{"4-del-a", remove(a)},
		{"4-del-a", remove(a)},
		{"5-del-c", remove(c)},
		{"6-del-b", remove(b)},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.golden, err)
		}
		got := sorted(nftables(t, "", "list", "ruleset"))
		path := filepath.Join("testdata", step.golden+".nft")
		golden.Compare(t, path, []byte(got))
	}
}
