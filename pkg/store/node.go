package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// Node is what the daemon last read from the node's configuration: an ADD gives an
// attachment what the daemon would, and a daemon that starts with a faulty one goes
// on with this.
type Node struct {
	masq.Policy
	// Sources are the addresses of pods that other plugins wired.
	Sources []netip.Prefix `json:"sourceCIDRs,omitempty"`
}

func (r *Records) nodePath() string {
	return filepath.Join(filepath.Dir(r.dir), "node-"+r.node+".json")
}

// PutNode writes what the node's configuration says; nil removes it.
func (r *Records) PutNode(n *Node) error {
	if n == nil {
		return remove(r.nodePath())
	}
	b, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("node policy: %w", err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(r.nodePath()), 0o700), r.Safe()); err != nil {
		return fmt.Errorf("write the node's policy: %w", err)
	}
	if err := replace(r.nodePath(), b); err != nil {
		return fmt.Errorf("write the node's policy: %w", err)
	}
	return nil
}

// Node returns what PutNode wrote, nil where there is nothing.
func (r *Records) Node() (*Node, error) {
	if err := r.Safe(); err != nil {
		return nil, err
	}
	b, err := safedir.ReadFile(r.nodePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the node's policy: %w", err)
	}
	var n Node
	if err := json.Unmarshal(b, &n); err != nil {
		return nil, fmt.Errorf("%s: not a policy: %w", r.nodePath(), err)
	}
	if err := n.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", r.nodePath(), err)
	}
	for _, p := range n.Sources {
		if !p.IsValid() || p != p.Masked() {
			return nil, fmt.Errorf("%s: sourceCIDRs: %s is not a prefix", r.nodePath(), p)
		}
	}
	return &n, nil
}
