package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// writable writes to the file system of a directory, or of its nearest ancestor that
// exists, and leaves nothing there. access(2) says nothing about a full file system, nor
// about a quota.
func writable(dir string) error {
	for {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		if err == nil {
			return writeInto(dir)
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			return err
		}
		dir = filepath.Dir(dir)
	}
}

// probeSize is the size of the file that writeInto writes: a page, so that it needs a
// block.
const probeSize = 4096

// writeInto writes a file without a name, so that nothing is left if the process is
// killed, and nothing is notified to a program that watches the directory.
func writeInto(dir string) error {
	f, err := os.OpenFile(dir, os.O_WRONLY|unix.O_TMPFILE, 0o600)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR): // not every file system has such files
		return nil
	case err != nil:
		return err
	}
	_, err = f.Write(make([]byte, probeSize))
	return errors.Join(err, f.Close())
}
