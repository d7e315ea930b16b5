package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// retiredEnding is the file name extension of a retired record. It replaces .json.
const retiredEnding = ".retired"

// Retired is a record that was taken out of use because its container was found gone.
// It is kept for a while, to be restored if the container turns up again.
type Retired struct {
	Record
	// Since is when the record was retired.
	Since time.Time
}

// Retire takes a record out of use: All no longer returns it. A missing record is no
// error.
func (r *Records) Retire(k masq.Key) error {
	path := r.path(k)
	if err := os.Rename(path, retiredPath(path)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Restore puts a retired record back into use, unless there is another of its key by
// now: then the retired one is removed. restored reports which.
func (r *Records) Restore(k masq.Key) (restored bool, err error) {
	path := r.path(k)
	err = unix.Renameat2(unix.AT_FDCWD, retiredPath(path), unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) {
		return false, r.Forget(k)
	}
	if err != nil {
		return false, fmt.Errorf("restore the record of %s: %w", k, err)
	}
	return true, nil
}

// Forget removes a retired record.
func (r *Records) Forget(k masq.Key) error { return remove(retiredPath(r.path(k))) }

// Retired returns the retired records, in the order in which they were retired. It
// removes retired records that cannot be read.
func (r *Records) Retired() ([]Retired, error) {
	entries, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the records: %w", err)
	}
	var (
		out  []Retired
		errs []error
	)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), r.node+"-") || !strings.HasSuffix(e.Name(), retiredEnding) {
			continue
		}
		path := filepath.Join(r.dir, e.Name())
		rec, err := r.Read(path)
		if err != nil {
			errs = append(errs, remove(path))
			continue
		}
		var s unix.Stat_t
		if err := unix.Stat(path, &s); err == nil {
			out = append(out, Retired{rec, time.Unix(s.Ctim.Unix())}) // a rename changes the file's status
		}
	}
	slices.SortFunc(out, func(a, b Retired) int { return a.Since.Compare(b.Since) })
	return out, errors.Join(errs...)
}

func retiredPath(path string) string { return strings.TrimSuffix(path, ".json") + retiredEnding }
