package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// natLogMark is the path of an empty file. The file remains when masqd ends, because the
// next masqd continues the log: until then no pod may opt out of translation.
func (r *Records) natLogMark() string {
	return filepath.Join(filepath.Dir(r.dir), "nat-log-"+r.node)
}

// MarkNATLog records, for the plugin, whether masqd keeps a NAT log on this node.
func (r *Records) MarkNATLog(kept bool) error {
	if !kept {
		return remove(r.natLogMark())
	}
	if err := errors.Join(os.MkdirAll(r.dir, 0o700), r.CheckSafe()); err != nil {
		return fmt.Errorf("mark the NAT log: %w", err)
	}
	if err := safedir.WriteFile(r.natLogMark(), r.natLogMark()+".tmp", nil); err != nil {
		return fmt.Errorf("mark the NAT log: %w", err)
	}
	return nil
}

// HasNATLog reports whether the last masqd of this node kept a NAT log.
func (r *Records) HasNATLog() (bool, error) {
	if err := r.CheckSafe(); err != nil {
		return false, err
	}
	_, err := os.Lstat(r.natLogMark())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
