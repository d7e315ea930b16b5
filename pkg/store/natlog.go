package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// natLogMark is an empty file. It stays when masqd ends, since the next one keeps the
// log again: in between no pod may leave unseen.
func (r *Records) natLogMark() string {
	return filepath.Join(filepath.Dir(r.dir), "nat-log-"+r.node)
}

// MarkNATLog notes whether the masqd of this node keeps a NAT log, for the plugin.
func (r *Records) MarkNATLog(kept bool) error {
	if !kept {
		return remove(r.natLogMark())
	}
	if err := errors.Join(os.MkdirAll(r.dir, 0o700), r.Safe()); err != nil {
		return fmt.Errorf("note that there is a NAT log: %w", err)
	}
	if err := safedir.WriteFile(r.natLogMark(), r.natLogMark()+".tmp", nil); err != nil {
		return fmt.Errorf("note that there is a NAT log: %w", err)
	}
	return nil
}

// HasNATLog reports whether the last masqd of this node kept a NAT log.
func (r *Records) HasNATLog() (bool, error) {
	if err := r.Safe(); err != nil {
		return false, err
	}
	_, err := os.Lstat(r.natLogMark())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
