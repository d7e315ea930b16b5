package store

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Others returns the records of each other network namespace that has records in the
// directory, including retired records. They may belong to a running node.
func (r *Records) Others() ([]*Records, error) {
	entries, err := list(r.dir)
	if err != nil {
		return nil, err
	}
	var nodes []string
	for _, e := range entries {
		node, _, _ := strings.Cut(e.Name(), "-")
		if _, err := strconv.ParseUint(node, 16, 64); err != nil || node == r.node || !isRecord(e.Name()) {
			continue
		}
		nodes = append(nodes, node)
	}
	slices.Sort(nodes)
	var out []*Records
	for _, node := range slices.Compact(nodes) {
		out = append(out, &Records{dir: r.dir, node: node})
	}
	return out, nil
}

// ID is what the names of the records begin with.
func (r *Records) ID() string { return r.node }

// Each calls f for each record, retired ones among them, and with an error for one that
// cannot be read. It ends where f returns false.
func (r *Records) Each(f func(Record, error) bool) error {
	files, err := r.files(r.dir)
	if err != nil {
		return err
	}
	for _, e := range files {
		if !isRecord(e.Name()) {
			continue
		}
		rec, err := r.Read(filepath.Join(r.dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) { // removed while listing
			continue
		}
		if !f(rec, err) {
			return nil
		}
	}
	return nil
}

// isRecord reports whether a file of this name is a record, in use or retired.
func isRecord(name string) bool {
	return strings.HasSuffix(name, ".json") || strings.HasSuffix(name, retiredEnding)
}
