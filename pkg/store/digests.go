package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Digests are the digests of the keys of attachments that have a file in the records'
// directory, whatever its state: ready, retired, being written, or not readable.
type Digests map[string]bool

// Has reports whether an attachment has a file.
func (d Digests) Has(k masq.Key) bool { return d[k.Digest()] }

// Digests returns the digests of this node's files.
func (r *Records) Digests() (Digests, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the records: %w", err)
	}
	out := Digests{}
	for _, e := range entries {
		if digest, own := strings.CutPrefix(e.Name(), r.node+"-"); own {
			digest, _, _ = strings.Cut(digest, ".")
			out[digest] = true
		}
	}
	return out, nil
}
