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
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// DefaultDir is where state is kept unless the configuration says otherwise.
const DefaultDir = "/run/masq-cni"

// Records are those of one node: of the network namespace in which they were
// opened. Nodes that share a directory, as in a lab on one machine, do not see
// each other's.
type Records struct {
	dir  string
	node string
}

// Open returns the records below a state directory, which is made by the first
// Put.
func Open(stateDir string) (*Records, error) {
	cookie, err := namespaceCookie()
	if err != nil {
		return nil, err
	}
	return &Records{dir: filepath.Join(stateDir, "attachments"), node: fmt.Sprintf("%x", cookie)}, nil
}

// namespaceCookie is a number that no other network namespace has until the next
// boot. Requires Linux 5.14.
func namespaceCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return cookie, os.NewSyscallError("getsockopt SO_NETNS_COOKIE", err)
}

// Safe reports why a user other than root could write records, a *safedir.Error: then
// no record is read or written.
func (r *Records) Safe() error {
	if err := errors.Join(safedir.CheckOwned(filepath.Dir(r.dir)), safedir.CheckPrivate(r.dir)); err != nil {
		return fmt.Errorf("records: %w", err)
	}
	return nil
}

// Dir is the directory that holds the records.
func (r *Records) Dir() string { return r.dir }

// Names from outside become part of a path as digests only.
func (r *Records) path(k masq.Key) string { return r.PathOf(k.Digest()) }

// PathOf is the path of the record of a key by the key's digest.
func (r *Records) PathOf(digest string) string {
	return filepath.Join(r.dir, r.node+"-"+digest+".json")
}

// DigestOf is the key's digest in the name of a record's file, with or without .json.
func (r *Records) DigestOf(name string) string {
	return strings.TrimPrefix(strings.TrimSuffix(filepath.Base(name), ".json"), r.node+"-")
}

// Put writes a record in place of the one with its key.
func (r *Records) Put(rec Record) error {
	rec.Version = Version
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("record of %s: %w", rec.Key, err)
	}
	if err := r.Safe(); err != nil {
		return err
	}
	path := r.path(rec.Key)
	err = replace(path, b)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(r.dir, 0o700); err != nil {
			return fmt.Errorf("make the directory of the records: %w", err)
		}
		if err := r.Safe(); err != nil { // it may have been made by another program first
			return err
		}
		err = replace(path, b)
	}
	if err != nil {
		return fmt.Errorf("write the record of %s: %w", rec.Key, err)
	}
	return nil
}

// replace leaves one temporary file at most for each record, and that under a name
// which the next writer of the record uses again.
func replace(path string, b []byte) error {
	return safedir.WriteFile(path, strings.TrimSuffix(path, ".json")+".tmp", b)
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Get returns the record of an attachment; found is false where there is none.
func (r *Records) Get(k masq.Key) (rec Record, found bool, err error) {
	if err := r.Safe(); err != nil {
		return Record{}, false, err
	}
	rec, err = r.Read(r.path(k))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Record{}, false, nil
	case err != nil:
		return Record{}, false, err
	case rec.Key != k:
		return Record{}, false, fmt.Errorf("%s is the record of %s, not of %s", r.path(k), rec.Key, k)
	}
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

// Compare tells the order in which two attachments were made: where they claim one
// address, the later has it.
func Compare(a, b *Record) int {
	if c := a.Created.Compare(b.Created); c != 0 {
		return c
	}
	return cmp.Compare(a.Identity(), b.Identity())
}

// Sort puts records into the order in which their attachments were made.
func Sort(all []Record) {
	slices.SortFunc(all, func(a, b Record) int { return Compare(&a, &b) })
}

// All returns every record of the node, sorted. Those that cannot be read are
// reported in the error; the others are returned all the same.
func (r *Records) All() ([]Record, error) { return r.read(func([]byte) bool { return true }) }

// Of returns the records that have one of these addresses, as All does. Those without
// are not parsed, and what is wrong with them is not said.
func (r *Records) Of(addrs ...netip.Addr) ([]Record, error) {
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

// read returns the records with a text that is wanted.
func (r *Records) read(wanted func([]byte) bool) ([]Record, error) {
	if err := r.Safe(); err != nil {
		return nil, err
	}
	files, err := r.files(r.dir)
	if err != nil {
		return nil, err
	}
	var (
		out  []Record
		errs []error
	)
	for _, e := range files {
		if !r.Owns(e.Name()) {
			continue
		}
		path := filepath.Join(r.dir, e.Name())
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !wanted(b) { // removed while listing
			continue
		}
		var rec Record
		if err == nil {
			rec, err = parseAt(path, b)
		} else {
			err = &ReadError{Path: path, Err: err}
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, rec)
	}
	Sort(out)
	return out, errors.Join(errs...)
}

// Owns reports whether a path is that of a record of this node.
func (r *Records) Owns(path string) bool {
	base := filepath.Base(path)
	return strings.HasPrefix(base, r.node+"-") && strings.HasSuffix(base, ".json")
}

// Read reads the record at a path. A missing record is fs.ErrNotExist; any other error
// is a *ReadError.
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
		return Record{}, &ReadError{Path: path, Err: fmt.Errorf("it is the record of %s, which has another file name", rec.Key), Damaged: true}
	}
	return rec, nil
}

// Tidy removes what writers that were killed have left beside no record, if it is
// older than grace: a writer may be at work.
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
			continue // it goes with the record
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > grace {
			errs = append(errs, remove(filepath.Join(r.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
