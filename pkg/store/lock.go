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
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// LockPath is the path of the file that masqd locks while it runs.
func (r *Records) LockPath() string { return filepath.Join(r.dir, "masqd.lock") }

// ErrLocked says that another masqd uses the records.
var ErrLocked = errors.New("another masqd is running")

// Daemon is the state that masqd writes into its lock file for other programs. Except for
// HasRun, it is valid while the file is locked.
type Daemon struct {
	// HasRun is true if a masqd has locked the records. Other programs lock them for a moment.
	HasRun bool `json:"hasRun,omitempty"`
	// Listen is the first TCP address of metrics and /readyz, empty without one. With
	// WebConfig, clients need TLS or a password.
	Listen string `json:"listen,omitempty"`
	// Health is an additional address of /readyz, ADDRESS:PORT or unix:/PATH, without TLS
	// and passwords. It is empty if Listen is the only address.
	Health string `json:"health,omitempty"`
	// WebConfig is the file that configures TLS and passwords of TCP addresses.
	WebConfig string `json:"webConfig,omitempty"`
	// Configuration is the file, or the pattern of files, of the node's configuration.
	Configuration string `json:"configuration,omitempty"`
	// ConfigurationFault says why the configuration is not in effect. It is empty if it is
	// in effect.
	ConfigurationFault string `json:"configurationFault,omitempty"`
	// Helpers are the names of the helpers that masqd serves now: see masq.HelperKind. It is
	// empty while masqd cannot serve them, and in the state of earlier versions.
	Helpers []string `json:"helpers,omitempty"`
}

// Lock prevents a second masqd from using the records: two with different configurations
// would undo each other's changes forever.
type Lock struct {
	f *os.File

	mu     sync.Mutex
	daemon Daemon
}

// Lock locks the records. Their directory must exist (reconcile.NewCache makes it). The
// error is ErrLocked if another process has locked them.
func (r *Records) Lock() (*Lock, error) {
	if err := r.CheckSafe(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(r.LockPath(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the records: %w", err)
	}
	if err := tryLock(f); err != nil {
		if errors.Is(err, safedir.ErrLocked) {
			err = fmt.Errorf("lock %s: %w", r.LockPath(), ErrLocked)
		}
		return nil, errors.Join(err, f.Close())
	}
	l := &Lock{f: f, daemon: Daemon{HasRun: ReadDaemon(f).HasRun}}
	return l, l.Publish(func(*Daemon) {})
}

// tryLock is safedir.TryLock, but waits for the end of shared locks: programs that call ReadLock
// have one for microseconds.
func tryLock(f *os.File) (err error) {
	for range 10_000 {
		if err = safedir.TryLock(f); !errors.Is(err, safedir.ErrLocked) {
			return err
		}
		if err := safedir.TryLockShared(f); err != nil {
			return err // ErrLocked: by another masqd
		}
		time.Sleep(time.Millisecond)
	}
	return err
}

// Publish changes the state in the lock file. A full disk is no error: the file then has
// only part of the state, which readers ignore.
func (l *Lock) Publish(change func(*Daemon)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.daemon)
	b, err := json.Marshal(l.daemon)
	if err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	// The file is written in place, because a new file would not be locked. A reader takes
	// the first JSON value: the end of a longer value may follow until Truncate.
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

// ReadDaemon reads the state of masqd from a lock file. It returns the zero Daemon for an
// incomplete state and for a lock file of an earlier version.
func ReadDaemon(lock io.ReaderAt) (d Daemon) {
	const maxBytes = 64 << 10
	b, _ := io.ReadAll(io.NewSectionReader(lock, 0, maxBytes))
	if json.NewDecoder(bytes.NewReader(b)).Decode(&d) != nil {
		return Daemon{}
	}
	return d
}
