package natlog

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

const (
	segmentSuffix = ".natlog"
	tailSuffix    = ".tail"
	lockName      = "lock"
	timeLayout    = "20060102T150405Z"
)

// logFile is a file of the log. Files are ordered by the number of their first record, since
// the clock may be set; the time in the name is for people.
type logFile struct {
	path string
	seq  uint64
}

func segmentPath(dir string, at time.Time, seq uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%016x%s", at.UTC().Format(timeLayout), seq, segmentSuffix))
}

func tailPath(dir string, seq uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", seq, tailSuffix))
}

// list returns the segments and the tails of a directory, oldest first. It ignores other
// files. In a directory that every user can write to, it ignores files of other users.
func list(dir string) (segments, tails []logFile, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list the NAT log: %w", err)
	}
	shared, err := safedir.IsWorldWritable(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list the NAT log: %w", err)
	}
	for _, e := range entries {
		if shared {
			if info, err := e.Info(); err != nil || !safedir.IsOwn(info) {
				continue
			}
		}
		base, isTail := strings.CutSuffix(e.Name(), tailSuffix)
		into := &tails
		if !isTail {
			var ok bool
			if base, ok = strings.CutSuffix(e.Name(), segmentSuffix); !ok {
				continue
			}
			into = &segments
			_, base, _ = strings.Cut(base, "-")
		}
		seq, err := strconv.ParseUint(base, 16, 64)
		if err != nil || len(base) != 16 {
			continue
		}
		*into = append(*into, logFile{filepath.Join(dir, e.Name()), seq})
	}
	for _, all := range [...][]logFile{segments, tails} {
		slices.SortStableFunc(all, func(a, b logFile) int { return cmp.Compare(a.seq, b.seq) })
	}
	return segments, tails, nil
}
