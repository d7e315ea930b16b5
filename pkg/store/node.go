package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// The node's policy, as the daemon last read it from its configuration, so that an
// ADD gives an attachment what the daemon would.

func (r *Records) nodePath() string {
	return filepath.Join(filepath.Dir(r.dir), "node-"+r.node+".json")
}

// PutNode writes the node's policy; nil removes it.
func (r *Records) PutNode(p *masq.Policy) error {
	if p == nil {
		return remove(r.nodePath())
	}
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("node policy: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(r.nodePath()), 0o700); err != nil {
		return fmt.Errorf("write the node's policy: %w", err)
	}
	if err := replace(r.nodePath(), b); err != nil {
		return fmt.Errorf("write the node's policy: %w", err)
	}
	return nil
}

// Node returns the node's policy, nil where there is none.
func (r *Records) Node() (*masq.Policy, error) {
	b, err := os.ReadFile(r.nodePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the node's policy: %w", err)
	}
	var p masq.Policy
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("%s: not a policy: %w", r.nodePath(), err)
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", r.nodePath(), err)
	}
	return &p, nil
}
