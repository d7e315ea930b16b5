package store

import (
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Digests are the digests of the keys of attachments that have a file in the directory of
// records: a record that is ready, retired, incomplete or unreadable.
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
