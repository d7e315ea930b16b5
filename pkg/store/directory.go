package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// list lists a directory. A missing directory has no files.
func list(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the records: %w", err)
	}
	return entries, nil
}

// files lists the files of this node in a directory of records, marks or refusals.
func (r *Records) files(dir string) ([]fs.DirEntry, error) {
	entries, err := list(dir)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !strings.HasPrefix(e.Name(), r.node+"-") }), err
}

// writeIn makes a directory and calls write, which writes a file there. It does both again
// if another process removed the directory in between, together with its last file.
func writeIn(dir string, write func() error) error {
	try := func() error {
		if err := errors.Join(os.MkdirAll(dir, 0o700), safedir.CheckPrivate(dir)); err != nil {
			return err
		}
		return write()
	}
	err := try()
	if errors.Is(err, fs.ErrNotExist) {
		err = try()
	}
	return err
}
