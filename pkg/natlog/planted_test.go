package natlog

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// TestPlantedFiles: in a directory that every user can write to, such as the root of a tmpfs,
// files of other users are not read. A forged log would blame another pod.
func TestPlantedFiles(t *testing.T) {
	const user = 12345
	forged, dir := t.TempDir(), t.TempDir()
	for _, d := range []string{forged, dir} {
		w := assert.Must(Open(d, Options{}))(t)
		assert.NoError(t, w.Append(sample()))
		assert.NoError(t, w.Close())
	}
	segments, tails, err := list(forged)
	assert.NoError(t, err)
	for _, f := range append(segments, tails...) {
		name := "20200101T000000Z-00000000deadbeef" + filepath.Ext(f.path)
		if filepath.Ext(f.path) == tailSuffix {
			name = "00000000deadbeef" + tailSuffix
		}
		to := filepath.Join(dir, name)
		assert.NoError(t, os.WriteFile(to, assert.Must(os.ReadFile(f.path))(t), 0o644))
		assert.NoError(t, os.Chown(to, user, user))
	}
	planted := func() (n int) {
		segments, tails, err := list(dir)
		assert.NoError(t, err)
		for _, f := range append(segments, tails...) {
			if strings.Contains(f.path, "deadbeef") {
				n++
			}
		}
		return n
	}
	// For comparison: in a directory of root, the file is read.
	if planted() == 0 {
		t.Fatal("the file is not listed in a directory that only root can write to")
	}
	assert.NoError(t, os.Chmod(dir, 0o777|os.ModeSticky))
	if n := planted(); n != 0 {
		t.Errorf("planted files that are listed: %d", n)
	}
	w := assert.Must(Open(dir, Options{}))(t)
	assert.NoError(t, w.Close())
	// Open refuses a lock file of another user.
	lock := filepath.Join(dir, lockName)
	assert.NoError(t, os.Chown(lock, user, user))
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), lock) {
		t.Errorf("lock file of another user: error %v, want one with %s", err, lock)
	}
}

func sample() *Record {
	at := netip.MustParseAddrPort
	return &Record{
		Kind: Begin, Time: time.Now(), Proto: 17,
		Original:   Tuple{Src: at("10.88.0.2:1"), Dst: at("198.51.100.2:2")},
		Translated: Tuple{Src: at("192.0.2.2:3"), Dst: at("198.51.100.2:2")},
	}
}
