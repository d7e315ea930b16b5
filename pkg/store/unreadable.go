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

// ReadError says that there is a record which cannot be read. Its attachment may be
// live: what the kernel has for it must stay.
type ReadError struct {
	Path string
	Err  error
	// Damaged says that the file's content is not a record, so that reading it again
	// does not help. It is false where the file could not be opened or read, and for a
	// record of a newer version.
	Damaged bool
}

func (e *ReadError) Error() string {
	// Errors of the file system name the path.
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

// ReadErrors returns the records that an error of All, or of Of, is about.
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

// Replace writes a record in place of a damaged file, which is kept as .bad in the same
// directory.
func (r *Records) Replace(damaged *ReadError, rec Record) (kept string, err error) {
	if path := r.path(rec.Key); path != damaged.Path {
		return "", fmt.Errorf("the record of %s belongs into %s, not into %s", rec.Key, path, damaged.Path)
	}
	kept = strings.TrimSuffix(damaged.Path, ".json") + damagedEnding
	// A second name first: at no time is there no record.
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
