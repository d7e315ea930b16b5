package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// writable returns an error if a directory, or its nearest existing ancestor, is not writable.
// It writes an unnamed file, since access(2) does not detect a full file system or quota.
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

// probeSize is the size of the file that writeInto writes: a page, which takes a block.
const probeSize = 4096

// writeInto writes an unnamed file. If the process is killed, no file is left. Programs that
// watch the directory get no event.
func writeInto(dir string) error {
	f, err := os.OpenFile(dir, os.O_WRONLY|unix.O_TMPFILE, 0o600)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR): // the file system has no unnamed files
		return nil
	case err != nil:
		return err
	}
	_, err = f.Write(make([]byte, probeSize))
	return errors.Join(err, f.Close())
}
