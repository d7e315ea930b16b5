package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Another process may remove the directory before the file is written. After two failures
// it is an error.
func TestWriteInRemovedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	for removals, want := range map[int]error{0: nil, 1: nil, 9: fs.ErrNotExist} {
		writes := 0
		err := writeIn(dir, func() error {
			if writes++; writes <= removals {
				if err := os.Remove(dir); err != nil {
					return err
				}
			}
			return os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
		})
		if !errors.Is(err, want) {
			t.Errorf("%d removals: %v; want %v", removals, err, want)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}
