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

// Node is the node's policy, as masqd last read it from the configuration. ADD applies it
// to new attachments. A masqd that starts with a faulty configuration continues with it.
type Node struct {
	masq.Policy
	// Sources are addresses of pods of other plugins (sourceCIDRs).
	Sources []netip.Prefix `json:"sourceCIDRs,omitempty"`
}

func (r *Records) nodePath() string {
	return filepath.Join(filepath.Dir(r.dir), "node-"+r.node+".json")
}

// PutNode writes the node's policy. Nil removes it.
func (r *Records) PutNode(n *Node) error {
	if n == nil {
		return remove(r.nodePath())
	}
	b, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("write the node's policy: %w", err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(r.nodePath()), 0o700), r.CheckSafe()); err != nil {
		return fmt.Errorf("write the node's policy: %w", err)
	}
	if err := replace(r.nodePath(), b); err != nil {
		return fmt.Errorf("write the node's policy: %w", err)
	}
	return nil
}

// Node returns the node's policy, or nil if it does not exist.
func (r *Records) Node() (*Node, error) {
	if err := r.CheckSafe(); err != nil {
		return nil, err
	}
	b, err := safedir.ReadFile(r.nodePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the node's policy: %w", err)
	}
	n, err := parseNode(b)
	if err != nil {
		return nil, fmt.Errorf("%s is not a valid policy: %w; delete the file, and restart masqd, which writes it again", r.nodePath(), err)
	}
	n.LocalMSSClamps, _ = r.MSSClamps() // callers that need the error ask for it
	return n, nil
}

func parseNode(b []byte) (*Node, error) {
	var n Node
	if err := json.Unmarshal(b, &n); err != nil {
		return nil, err
	}
	if err := n.Validate(); err != nil {
		return nil, err
	}
	for _, p := range n.Sources {
		if !p.IsValid() || p != p.Masked() {
			return nil, fmt.Errorf("sourceCIDRs: %s is not a prefix", p)
		}
	}
	return &n, nil
}
