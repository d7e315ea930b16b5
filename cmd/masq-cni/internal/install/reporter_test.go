package install

import (
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
)

// TestTextReporter checks that each change is a sentence that names the file.
func TestTextReporter(t *testing.T) {
	var b strings.Builder
	r := textReporter{&b}
	for _, c := range []struct {
		call func()
		want string
	}{
		{func() { r.waitingForMasqd("http://127.0.0.1:9468/readyz", "connection refused") }, "Waiting for masqd to be ready at http://127.0.0.1:9468/readyz: connection refused.\n"},
		{func() { r.waitingForMasqd("http://127.0.0.1:9468/readyz", "x") }, "--ready-url ''"},
		{func() { r.waitingForRanges("n1", "it has none") }, "Waiting for the pod ranges of node n1: it has none.\n"},
		{func() { r.installed(cnidir.Installed{Path: "/b/masq", Version: "2"}) }, "Installed the plugin masq 2 as /b/masq.\n"},
		{func() { r.installed(cnidir.Installed{Path: "/b/masq", Version: "2", Before: "1"}) }, "Replaced /b/masq: it was 1 and is now masq 2.\n"},
		{func() { r.warning("/c/a: ptp masquerades too") }, "Warning: /c/a: ptp masquerades too.\n"},
	} {
		b.Reset()
		c.call()
		if got := b.String(); !strings.Contains(got, c.want) || strings.Count(got, "\n") > 2 {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	for _, a := range []cnidir.Action{cnidir.Inserted, cnidir.Replaced, cnidir.ListWritten, cnidir.ListRemoved, cnidir.EntryRemoved, cnidir.NetworkWritten} {
		b.Reset()
		r.changed(cnidir.Change{Action: a, Path: "/c/10-pods.conflist"})
		if got := b.String(); !strings.Contains(got, "/c/10-pods.conflist") {
			t.Errorf("%s: the sentence has no file: %q", a, got)
		}
	}
}
