package store

import (
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Digests is a set of digests of attachment keys: one for each attachment that has a file in
// the directory of records. The file may be a retired, incomplete or unreadable record.
type Digests map[string]bool

// Has reports whether an attachment has a file.
func (d Digests) Has(k masq.Key) bool { return d[k.Digest()] }

// Digests returns the digests of this node's files.
func (r *Records) Digests() (Digests, error) {
	files, err := r.files(r.dir)
	if err != nil {
		return nil, err
	}
	out := Digests{}
	for _, f := range files {
		digest, _, _ := strings.Cut(strings.TrimPrefix(f.Name(), r.node+"-"), ".")
		out[digest] = true
	}
	return out, nil
}
