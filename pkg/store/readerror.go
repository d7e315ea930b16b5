package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ReadError says that a record exists and cannot be read. Its attachment may be live, so
// that its objects in the kernel must not be removed.
type ReadError struct {
	Path string
	Err  error
	// Damaged is true if the content of the file is not a record. It is false if the file
	// could not be opened or read, and for a record of a newer version.
	Damaged bool
}

func (e *ReadError) Error() string {
	// An error of the file system already names the path.
	if _, ok := errors.AsType[*fs.PathError](e.Err); ok {
		return e.Err.Error()
	}
	return fmt.Sprintf("%s: %v", e.Path, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// Digest returns the digest of the attachment's key, which is in the file's name.
func (e *ReadError) Digest() string {
	base := strings.TrimSuffix(filepath.Base(e.Path), ".json")
	return base[strings.LastIndexByte(base, '-')+1:]
}

// ReadErrors returns the errors of single records in an error of All or WithAddresses.
func ReadErrors(err error) (out []*ReadError) {
	switch e := err.(type) { //nolint:errorlint // the tree is walked here
	case *ReadError:
		return []*ReadError{e}
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			out = append(out, ReadErrors(one)...)
		}
	case interface{ Unwrap() error }:
		return ReadErrors(e.Unwrap())
	}
	return out
}

// damagedEnding is the file name extension of a damaged file that was replaced. It
// replaces .json.
const damagedEnding = ".bad"

// Replace replaces a damaged file with a record, and returns the path of the damaged file,
// which it renames to .bad.
func (r *Records) Replace(damaged *ReadError, rec Record) (kept string, err error) {
	if path := r.path(rec.Key); path != damaged.Path {
		return "", fmt.Errorf("the record of %s belongs to %s, not to %s", rec.Key, path, damaged.Path)
	}
	kept = strings.TrimSuffix(damaged.Path, ".json") + damagedEnding
	// A second name comes first, so that a record exists at all times.
	if err := errors.Join(remove(kept), os.Link(damaged.Path, kept)); err != nil {
		return "", fmt.Errorf("keep the damaged record: %w", err)
	}
	return kept, r.Put(rec)
}

// Damaged returns the paths of damaged files that Replace has kept.
func (r *Records) Damaged() ([]string, error) {
	all, err := filepath.Glob(filepath.Join(r.dir, r.node+"-*"+damagedEnding))
	slices.Sort(all)
	return all, err
}

// DeleteAll removes all records of the node, including records that cannot be read.
func (r *Records) DeleteAll() error {
	errs := []error{r.MarkNATLog(false)}
	for _, dir := range []string{r.dir, r.markDir(), r.refusalDir()} {
		files, err := r.files(dir)
		errs = append(errs, err)
		for _, f := range files {
			errs = append(errs, remove(filepath.Join(dir, f.Name())))
		}
	}
	return errors.Join(errs...)
}
