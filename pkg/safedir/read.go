package safedir

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// ReadFile is os.ReadFile for a file that [IsOwn] accepts.
func ReadFile(path string) (_ []byte, err error) {
	// Opening a FIFO would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !IsOwn(info) {
		return nil, fmt.Errorf("%s is not a regular file of root with one hard link (mode %s, owner %d, hard links %d); remove it", path, info.Mode(), owner(info), info.Sys().(*syscall.Stat_t).Nlink)
	}
	return io.ReadAll(f)
}
