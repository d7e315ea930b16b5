package natlog

import (
	"errors"
	"fmt"
)

// Branch on these with errors.Is.
var (
	// ErrNewer: a file was written by a later program than this one.
	ErrNewer = errors.New("log file of a newer version")
	// ErrCorrupt: what a file says contradicts itself or its checksum.
	ErrCorrupt = errors.New("damaged")
	// ErrLocked: another writer has the directory.
	ErrLocked = errors.New("another writer has the log")
	// ErrClosed: the writer was closed.
	ErrClosed = errors.New("the log is closed")
	// ErrLost: a record was dropped and counted; a gap record will tell.
	ErrLost = errors.New("record lost: the disk does not keep up")
)

// FileError is what is wrong with one file of the log. The others are read all the
// same.
type FileError struct {
	File   string
	Offset int64 // of the block in bytes; 0 is the whole file
	Err    error
}

func (e *FileError) Error() string {
	if e.Offset == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s: block at byte %d: %v", e.File, e.Offset, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

func errCorrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

func newerError(v uint32) error {
	return fmt.Errorf("%w: %d where this program knows %d; read it with the program that wrote it", ErrNewer, v, version)
}
