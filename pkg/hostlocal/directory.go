package hostlocal

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

const (
	lockName = "lock"
	// newName is the name of a lease that is being written. Because its writer holds the
	// lock, there is at most one.
	newName = "lease.new"
	// latestName is the beginning of a name that ends with the number of a range set.
	latestName = "last_reserved_ip."
)

// directory is the directory of a network's leases.
type directory string

func (d directory) path(name string) string { return filepath.Join(string(d), name) }

// lock waits for the lock of the directory. Closing the file, or the end of the process,
// releases it.
func (d directory) lock() (*os.File, error) {
	f, err := os.OpenFile(d.path(lockName), os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := safedir.Lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// create makes the directory, unless it exists, and locks it.
func (d directory) create() (*os.File, error) {
	if err := errors.Join(os.MkdirAll(string(d), 0o755), safedir.Check(string(d))); err != nil {
		return nil, err
	}
	return d.lock()
}

func (d directory) leased(a netip.Addr) (bool, error) {
	_, err := os.Lstat(d.path(a.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// put leases a free address. The lease appears with its content. A process that is killed
// before that leaves a lease.new, which the next put overwrites.
func (d directory) put(a netip.Addr, h holder) error {
	return safedir.WriteFile(d.path(a.String()), d.path(newName), []byte(h.String()))
}

// holder returns the holder of an address, if the address is leased.
func (d directory) holder(a netip.Addr) (h holder, leased bool, err error) {
	b, err := os.ReadFile(d.path(a.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return holder{}, false, nil
	}
	return parseHolder(string(b)), err == nil, err
}

func (d directory) remove(a netip.Addr) error { return d.removeFile(a.String()) }

// removeNew removes a lease.new that a killed process left.
func (d directory) removeNew() error { return d.removeFile(newName) }

func (d directory) removeFile(name string) error {
	if err := os.Remove(d.path(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// leases returns the leased addresses. The error names leases that cannot be read.
func (d directory) leases() (map[netip.Addr]holder, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	all := map[netip.Addr]holder{}
	var errs []error
	for _, e := range entries {
		a, err := parseAddr(e.Name())
		// host-local writes addresses in their canonical form only.
		if err != nil || !e.Type().IsRegular() || a.String() != e.Name() {
			continue
		}
		h, leased, err := d.holder(a)
		if err != nil {
			errs = append(errs, err)
		}
		if leased {
			all[a] = h
		}
	}
	return all, errors.Join(errs...)
}

// latest returns the address that was last leased from a range set. If it is missing or
// cannot be read, the search for the next address starts at the beginning: that only takes
// longer.
func (d directory) latest(set int) netip.Addr {
	b, err := os.ReadFile(d.path(latestName + strconv.Itoa(set)))
	if err != nil {
		return netip.Addr{}
	}
	a, err := parseAddr(string(b))
	if err != nil {
		return netip.Addr{}
	}
	return a
}

// setLatest overwrites the address in place. If the file were truncated first, as by
// os.WriteFile, ext4 would write to the disk at once (auto_da_alloc in ext4(5)), which
// takes 200 µs rather than 10 µs. A process that is killed in between leaves a wrong
// address or none.
func (d directory) setLatest(set int, a netip.Addr) error {
	f, err := os.OpenFile(d.path(latestName+strconv.Itoa(set)), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	text := a.String()
	_, err = f.WriteString(text)
	return errors.Join(err, f.Truncate(int64(len(text))), f.Close())
}
