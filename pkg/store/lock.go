package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// LockPath is the file that the masqd that works on the records has locked.
func (r *Records) LockPath() string { return filepath.Join(r.dir, "masqd.lock") }

// ErrLocked says that another masqd works on the records.
var ErrLocked = errors.New("another masqd is at work")

// Daemon is what a masqd writes into its lock for other programs. It is true as long as
// the file is locked.
type Daemon struct {
	// Listen is the first TCP address of metrics and /readyz, empty without one. If WebConfig
	// is set, clients need what it asks for.
	Listen string `json:"listen,omitempty"`
	// Health is another address of /readyz, ADDRESS:PORT or unix:/PATH, without TLS and passwords;
	// empty if Listen is the only address.
	Health string `json:"health,omitempty"`
	// WebConfig is the file that gives TLS and passwords of TCP addresses, empty for none.
	WebConfig string `json:"webConfig,omitempty"`
	// Configuration is the file, or the pattern of files, of the node's configuration.
	Configuration string `json:"configuration,omitempty"`
	// ConfigurationFault is why that is not in effect, empty where it is.
	ConfigurationFault string `json:"configurationFault,omitempty"`
}

// Lock keeps other masqds from the records: two that disagree would undo each other's
// work for ever.
type Lock struct {
	f *os.File

	mu     sync.Mutex
	daemon Daemon
}

// Lock locks the records, whose directory exists. It fails with ErrLocked where another
// process has locked them.
func (r *Records) Lock() (*Lock, error) {
	if err := r.Safe(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(r.LockPath(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the records: %w", err)
	}
	if err := safedir.TryLock(f); err != nil {
		if errors.Is(err, safedir.ErrLocked) {
			err = fmt.Errorf("lock %s: %w", r.LockPath(), ErrLocked)
		}
		return nil, errors.Join(err, f.Close())
	}
	l := &Lock{f: f}
	return l, l.Tell(func(*Daemon) {})
}

// Tell changes the state of masqd that the lock file holds. A full disk is no error:
// the lock file then holds only part of the state, and readers ignore it.
func (l *Lock) Tell(change func(*Daemon)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.daemon)
	b, err := json.Marshal(l.daemon)
	if err != nil {
		return fmt.Errorf("write the lock: %w", err)
	}
	// In place, since the lock is the file's. A reader takes the first value: the end of
	// a longer one may follow it until the file is cut.
	if _, err := l.f.WriteAt(append(b, '\n'), 0); err != nil && !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("write %s: %w", l.f.Name(), err)
	}
	if err := l.f.Truncate(int64(len(b) + 1)); err != nil {
		return fmt.Errorf("write %s: %w", l.f.Name(), err)
	}
	return nil
}

// Close unlocks the records.
func (l *Lock) Close() error { return l.f.Close() }

// ReadDaemon reads the state of masqd from a lock file. It returns the zero Daemon for
// a lock file of an earlier version.
func ReadDaemon(lock io.ReaderAt) (d Daemon) {
	const most = 64 << 10
	b, _ := io.ReadAll(io.NewSectionReader(lock, 0, most))
	if json.NewDecoder(bytes.NewReader(b)).Decode(&d) != nil {
		return Daemon{}
	}
	return d
}
