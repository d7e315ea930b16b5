package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// localClamps is the content of the file of local MSS clamps.
type localClamps struct {
	MSSClamps masq.MSSClamps `json:"mssClamps"`
}

// MSSClampsPath is the path of the file of local MSS clamps. They apply to all policies of the
// node, until the file is deleted or the node restarts: see masq.Policy.LocalMSSClamps.
func (r *Records) MSSClampsPath() string {
	return filepath.Join(filepath.Dir(r.dir), "mss-clamps-"+r.node+".json")
}

// MSSClamps returns the local MSS clamps, or nil without the file.
func (r *Records) MSSClamps() (masq.MSSClamps, error) {
	if err := r.CheckSafe(); err != nil {
		return nil, err
	}
	return r.readMSSClamps()
}

func (r *Records) readMSSClamps() (masq.MSSClamps, error) {
	b, err := safedir.ReadFile(r.MSSClampsPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the local MSS clamps: %w", err)
	}
	var c localClamps
	err = json.Unmarshal(b, &c)
	if err == nil {
		err = c.MSSClamps.Validate("mssClamps")
	}
	if err != nil {
		return nil, fmt.Errorf("%s has no valid MSS clamps: %w; delete the file, and add them again with masq-cni clamp add", r.MSSClampsPath(), err)
	}
	return c.MSSClamps, nil
}

// UpdateMSSClamps changes the local MSS clamps. Concurrent calls wait for each other. Without
// an entry the file is deleted. A change that fails leaves the file as it was.
func (r *Records) UpdateMSSClamps(change func(masq.MSSClamps) error) error {
	dir := filepath.Dir(r.MSSClampsPath())
	if err := errors.Join(os.MkdirAll(dir, 0o700), r.CheckSafe()); err != nil {
		return fmt.Errorf("write the local MSS clamps: %w", err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write the local MSS clamps: %w", err)
	}
	defer func() { _ = lock.Close() }() // this unlocks
	if err := safedir.Lock(lock); err != nil {
		return fmt.Errorf("write the local MSS clamps: %w", err)
	}
	before, err := r.MSSClamps()
	if err != nil {
		return err
	}
	clamps := masq.MSSClamps{}
	maps.Copy(clamps, before)
	if err := change(clamps); err != nil {
		return err
	}
	switch err := clamps.Validate("mssClamps"); {
	case err != nil:
		return err
	case maps.Equal(clamps, before):
		return nil
	case len(clamps) == 0:
		return remove(r.MSSClampsPath())
	}
	b, err := json.Marshal(localClamps{clamps})
	if err == nil {
		err = replace(r.MSSClampsPath(), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the local MSS clamps: %w", err)
	}
	return nil
}

// DeleteMSSClamps deletes the file of local MSS clamps.
func (r *Records) DeleteMSSClamps() error { return remove(r.MSSClampsPath()) }

// withClamps sets the local MSS clamps of the policies of records, if they can be read.
func (r *Records) withClamps(all ...Record) {
	clamps, _ := r.readMSSClamps()
	for _, rec := range all {
		if rec.Policy != nil {
			rec.Policy.LocalMSSClamps = clamps
		}
	}
}
