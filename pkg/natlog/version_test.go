package natlog

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// TestReadVersion1: files of format version 1, written before the first release, stay
// readable. testdata/version1 has a sealed segment and a tail; version1.txt has their
// records.
func TestReadVersion1(t *testing.T) {
	want := string(assert.Must(os.ReadFile("testdata/version1.txt"))(t))
	list := func(dir string) string {
		all, errs := readLogAndGaps(dir)
		assert.NoError(t, errors.Join(errs...))
		var s strings.Builder
		for _, r := range all {
			fmt.Fprintf(&s, "%s %s proto %d %q %s -> %s as %s -> %s packets %d bytes %d duration %s lost %d\n",
				r.Time.UTC().Format("2006-01-02T15:04:05.000Z"), r.Kind, r.Proto,
				[]string{r.Owner.Network, r.Owner.ContainerID, r.Owner.Interface, r.Owner.Namespace, r.Owner.Name, r.Owner.UID},
				r.Original.Src, r.Original.Dst, r.Translated.Src, r.Translated.Dst, r.Packets, r.Bytes, r.Duration, r.Lost)
		}
		return s.String()
	}
	if got := list("testdata/version1"); got != want {
		t.Errorf("records are\n%s\nwant\n%s", got, want)
	}
	q := Query{Addr: netip.MustParseAddrPort("192.0.2.1:78"), From: epoch, Until: epoch.Add(time.Hour)}
	a := assert.Must(Find(context.Background(), "testdata/version1", q))(t)
	if len(a.Flows) != 1 || a.Flows[0].Owner.Name != "cart-0" || a.Flows[0].Bytes != [2]uint64{252, 168} || len(a.Gaps) != 2 {
		t.Errorf("answer is %+v", a)
	}

	// A writer continues such a log.
	dir := filepath.Join(t.TempDir(), "log")
	assert.NoError(t, os.CopyFS(dir, os.DirFS("testdata/version1")))
	assert.NoError(t, os.Chmod(dir, 0o700))
	w := openLog(t, dir, small)
	assert.NoError(t, w.Append(sample()))
	assert.NoError(t, w.Close())
	if got := list(dir); !strings.HasPrefix(got, want) {
		t.Errorf("after another writer the records are\n%s\nwant at first\n%s", got, want)
	}
}
