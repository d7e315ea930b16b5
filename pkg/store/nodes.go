package store

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// OtherNodes returns the records of each other network namespace that has records or
// retired records in the directory. Such a namespace may be a running node.
func (r *Records) OtherNodes() ([]*Records, error) {
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

// ID is the number of the network namespace, the beginning of the names of its records.
func (r *Records) ID() string { return r.node }

// Each calls f for each record, retired or not. For an unreadable record it passes an
// error. It stops when f returns false.
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

// isRecord reports whether this is the file name of a record, retired or not.
func isRecord(name string) bool {
	return strings.HasSuffix(name, ".json") || strings.HasSuffix(name, retiredEnding)
}
