package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// DefaultDir is the default of stateDir.
const DefaultDir = "/run/masq-cni"

// Records are the records of one node, which is the network namespace of the process that
// opened them. Several nodes can share a directory, as in a lab on one machine.
type Records struct {
	dir  string
	node string
}

// Open returns the records below a state directory. The first Put makes the directory.
func Open(stateDir string) (*Records, error) {
	cookie, err := namespaceCookie()
	if err != nil {
		return nil, err
	}
	return &Records{dir: filepath.Join(stateDir, "attachments"), node: fmt.Sprintf("%x", cookie)}, nil
}

// namespaceCookie returns the number of the network namespace, which is unique until the
// next boot. Requires Linux 5.14 (SO_NETNS_COOKIE).
func namespaceCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return cookie, os.NewSyscallError("getsockopt SO_NETNS_COOKIE", err)
}

// CheckSafe returns an error, a *safedir.Error, if a user other than root could write
// records. Records are then neither read nor written.
func (r *Records) CheckSafe() error {
	return errors.Join(safedir.CheckOwned(filepath.Dir(r.dir)), safedir.CheckPrivate(r.dir))
}

// Dir is the directory of the records.
func (r *Records) Dir() string { return r.dir }

// path returns the path of a record. Names from outside are part of a path only as digests.
func (r *Records) path(k masq.Key) string { return r.PathOf(k.Digest()) }

// PathOf returns the path of a record by the digest of its key.
func (r *Records) PathOf(digest string) string {
	return filepath.Join(r.dir, r.node+"-"+digest+".json")
}

// DigestOf returns the digest in the file name of a record, with or without .json.
func (r *Records) DigestOf(name string) string {
	return strings.TrimPrefix(strings.TrimSuffix(filepath.Base(name), ".json"), r.node+"-")
}

// Put writes a record. It replaces the record with the same key.
func (r *Records) Put(rec Record) error {
	rec.Version = Version
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("write the record of %s: %w", rec.Key, err)
	}
	if err := r.CheckSafe(); err != nil {
		return err
	}
	path := r.path(rec.Key)
	err = replace(path, b)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(r.dir, 0o700); err != nil {
			return fmt.Errorf("make the directory of the records: %w", err)
		}
		if err := r.CheckSafe(); err != nil { // another program may have made it first
			return err
		}
		err = replace(path, b)
	}
	if err != nil {
		return fmt.Errorf("write the record of %s: %w", rec.Key, err)
	}
	return nil
}

// replace writes a file by way of a temporary file with a fixed name, so that killed
// writers leave at most one temporary file for each record.
func replace(path string, b []byte) error {
	return safedir.WriteFile(path, strings.TrimSuffix(path, ".json")+".tmp", b)
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Get returns the record of an attachment, with the local MSS clamps of the node in its
// policy. found is false if there is no record. The error
// is a *ReadError if the record cannot be read.
func (r *Records) Get(k masq.Key) (rec Record, found bool, err error) {
	if err := r.CheckSafe(); err != nil {
		return Record{}, false, err
	}
	rec, err = r.Read(r.path(k))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Record{}, false, nil
	case err != nil:
		return Record{}, false, err
	case rec.Key != k:
		return Record{}, false, fmt.Errorf("%s has the record of %s instead of %s", r.path(k), rec.Key, k)
	}
	r.withClamps(rec)
	return rec, true, nil
}

// Delete removes the record of an attachment, if there is one.
func (r *Records) Delete(k masq.Key) error {
	path := r.path(k)
	errs := []error{remove(path), r.unmark(k)}
	for _, ending := range []string{".tmp", retiredEnding, damagedEnding} {
		errs = append(errs, remove(strings.TrimSuffix(path, ".json")+ending))
	}
	return errors.Join(errs...)
}

// Compare compares two records by the time of creation. If two attachments have the same
// address, the rules of the address belong to the later attachment.
func Compare(a, b *Record) int {
	if c := a.Created.Compare(b.Created); c != 0 {
		return c
	}
	return cmp.Compare(a.Identity(), b.Identity())
}

// Sort sorts records by Compare.
func Sort(all []Record) {
	slices.SortFunc(all, func(a, b Record) int { return Compare(&a, &b) })
}

// All returns every record of the node that can be read, sorted, with the local MSS clamps of
// the node in their policies. The error has a
// *ReadError for each of the others: see [ReadErrors].
func (r *Records) All() ([]Record, error) { return r.read(func([]byte) bool { return true }) }

// WithAddresses returns the records that have one of these addresses, sorted. Other records
// are not parsed, and their faults are not reported.
func (r *Records) WithAddresses(addrs ...netip.Addr) ([]Record, error) {
	var texts [][]byte
	for _, a := range addrs {
		texts = append(texts, []byte(strconv.Quote(a.String())))
	}
	out, err := r.read(func(b []byte) bool {
		return slices.ContainsFunc(texts, func(t []byte) bool { return bytes.Contains(b, t) })
	})
	return slices.DeleteFunc(out, func(rec Record) bool {
		return !slices.ContainsFunc(rec.Addresses, func(a netip.Addr) bool { return slices.Contains(addrs, a) })
	}), err
}

// read returns the records whose text passes a filter.
func (r *Records) read(filter func([]byte) bool) ([]Record, error) {
	if err := r.CheckSafe(); err != nil {
		return nil, err
	}
	files, err := r.files(r.dir)
	if err != nil {
		return nil, err
	}
	var (
		out   []Record
		mutex sync.Mutex // for out
	)
	errs := make([]error, len(files)) // in the order of the files
	inParallel(len(files), func(i int) {
		rec, found, err := r.readIf(files[i].Name(), filter)
		if errs[i] = err; err != nil || !found {
			return
		}
		mutex.Lock()
		defer mutex.Unlock()
		out = append(out, rec)
	})
	Sort(out)
	r.withClamps(out...)
	return out, errors.Join(errs...)
}

// readIf reads the record in a file if its text passes a filter. found is false if it does not,
// and if the file was removed meanwhile.
func (r *Records) readIf(name string, filter func([]byte) bool) (rec Record, found bool, err error) {
	if !r.Owns(name) {
		return Record{}, false, nil
	}
	path := filepath.Join(r.dir, name)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !filter(b):
		return Record{}, false, nil
	case err != nil:
		return Record{}, false, &ReadError{Path: path, Err: err}
	}
	rec, err = parseAt(path, b)
	return rec, err == nil, err
}

// parallelFiles is the number of files from which a second thread makes reading faster.
const parallelFiles = 64

// inParallel calls f with the numbers below n, on several threads if there are many.
func inParallel(n int, f func(i int)) {
	threads := 1
	if n >= parallelFiles {
		threads = runtime.GOMAXPROCS(0)
	}
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
			f(int(i))
		}
	}
	var others sync.WaitGroup
	for range threads - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
}

// Owns reports whether a path is the path of a record of this node, by its file name.
func (r *Records) Owns(path string) bool {
	base := filepath.Base(path)
	return strings.HasPrefix(base, r.node+"-") && strings.HasSuffix(base, ".json")
}

// Read reads the record at a path. The error for a missing record is fs.ErrNotExist. Any
// other error is a *ReadError.
func (r *Records) Read(path string) (Record, error) {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Record{}, err
	case err != nil:
		return Record{}, &ReadError{Path: path, Err: err}
	}
	return parseAt(path, b)
}

func parseAt(path string, b []byte) (Record, error) {
	rec, err := parse(b)
	if err != nil {
		return Record{}, &ReadError{Path: path, Err: err, Damaged: !errors.Is(err, ErrNewer)}
	}
	if base := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)); !strings.HasSuffix(base, "-"+rec.Digest()) {
		return Record{}, &ReadError{Path: path, Err: fmt.Errorf("it has the record of %s, which belongs to another file name", rec.Key), Damaged: true}
	}
	return rec, nil
}

// Tidy removes temporary files (.tmp) that killed writers left without a record. It keeps
// files that are younger than grace, because their writer may be running.
func (r *Records) Tidy(grace time.Duration) error {
	files, err := r.files(r.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range files {
		name, is := strings.CutSuffix(e.Name(), ".tmp")
		if !is {
			continue
		}
		if _, err := os.Lstat(filepath.Join(r.dir, name+".json")); !errors.Is(err, fs.ErrNotExist) {
			continue // Delete removes it with the record
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > grace {
			errs = append(errs, remove(filepath.Join(r.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
