package natlog

import (
	"errors"
	"fmt"
)

// Branch on these with errors.Is.
var (
	// ErrNewer means that a newer program wrote the file.
	ErrNewer = errors.New("log file of a newer version")
	// ErrCorrupt means that a file contradicts its format or a checksum.
	ErrCorrupt = errors.New("damaged")
	// ErrLocked means that another writer has locked the directory.
	ErrLocked = errors.New("another writer has locked the log")
	// ErrClosed means that the writer is closed.
	ErrClosed = errors.New("the log is closed")
	// ErrLost means that a record was dropped and counted; a Gap record follows.
	ErrLost = errors.New("record lost: the queue is full, because the disk is too slow or full")
)

// FileError reports that one file of the log, or a block of it, cannot be read. The other
// files are read.
type FileError struct {
	File   string
	Offset int64 // offset of the damaged block, 0 if the whole file is damaged
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
	return fmt.Errorf("%w: %d, this program reads up to %d; read it with the program that wrote it", ErrNewer, v, version)
}
