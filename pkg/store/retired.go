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

// Retired is a record that is not in use because its container was found gone. It is kept
// for a while, and restored if the container is found again.
type Retired struct {
	Record
	// Since is when the record was retired.
	Since time.Time
}

// Retire retires a record: All no longer returns it. A missing record is no error.
func (r *Records) Retire(k masq.Key) error {
	path := r.path(k)
	if err := os.Rename(path, retiredPath(path)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Restore undoes Retire: All returns the record again. If a new record with its key exists,
// Restore removes the retired record, and restored is false.
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

// Forget removes a retired record. It also removes its mark of a duplicate address, unless
// a new record with its key exists.
func (r *Records) Forget(k masq.Key) error {
	path := r.path(k)
	errs := []error{remove(retiredPath(path))}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, r.unmark(k))
	}
	return errors.Join(errs...)
}

// Retired returns the retired records, in the order in which they were retired. It
// removes damaged retired records, and ignores records of a newer version.
func (r *Records) Retired() ([]Retired, error) {
	files, err := r.files(r.dir)
	if err != nil {
		return nil, err
	}
	var (
		out  []Retired
		errs []error
	)
	for _, e := range files {
		if !strings.HasSuffix(e.Name(), retiredEnding) {
			continue
		}
		path := filepath.Join(r.dir, e.Name())
		rec, err := r.Read(path)
		if err != nil {
			switch bad, is := errors.AsType[*ReadError](err); {
			case is && bad.Damaged:
				errs = append(errs, remove(path))
			case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNewer):
				errs = append(errs, err)
			}
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
