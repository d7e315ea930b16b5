package nodeconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/conftree"
)

const (
	// maxFiles is the maximum number of files that are merged.
	maxFiles = 64
	// maxAttempts is how often files are read if they change while they are read. A
	// ConfigMap changes at most once a minute.
	maxAttempts = 10
)

// Load reads the file at a path, or the files that match a pattern such as
// /etc/config/ip-masq*, and merges them in the order of their names. It also returns the
// names. If no file exists, there are no names, and the configuration is Default. An error
// is of type conftree.Faults.
//
// Only the last element of a pattern can have *, ? and [. It matches no hidden names, such
// as ..data of a ConfigMap, and no directories.
//
// The contents of all files are of the same moment, even while the kubelet replaces the
// directory that they link to.
func Load(pattern string) (Node, []string, error) {
	files, err := snapshot(func() ([]string, error) { return match(pattern) }, true)
	if err != nil {
		return Node{}, nil, err
	}
	var names []string
	for _, f := range files {
		names = append(names, f.name)
	}
	n, err := parse(files)
	return n, names, err
}

// LoadFiles reads and merges files. A missing file is a fault.
func LoadFiles(names ...string) (Node, error) {
	var distinct []string // ignore repeated names
	for _, name := range names {
		if !slices.Contains(distinct, name) {
			distinct = append(distinct, name)
		}
	}
	files, err := snapshot(func() ([]string, error) { return distinct, nil }, false)
	if err != nil {
		return Node{}, err
	}
	return parse(files)
}

// match returns the names that match a pattern, in order.
func match(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{pattern}, nil
	}
	if _, err := os.Lstat(pattern); err == nil {
		return []string{pattern}, nil // the name of a file may have such characters
	}
	dir, last := filepath.Split(pattern)
	if strings.ContainsAny(dir, `*?[\`) {
		return nil, conftree.Faults{{File: pattern, Message: "the pattern has a wildcard in the name of a directory; use wildcards in the last element only"}}
	}
	// filepath.Glob ignores a directory that it cannot read.
	entries, err := os.ReadDir(filepath.Clean(dir + "."))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, conftree.Faults{unreadable(pattern, err)}
	}
	var names []string
	for _, e := range entries {
		ok, err := filepath.Match(last, e.Name())
		if err != nil {
			return nil, conftree.Faults{{File: pattern, Message: "the pattern is not valid; give one such as \"/etc/config/ip-masq*\""}}
		}
		if !ok || isHidden(e.Name(), last) {
			continue
		}
		if info, err := os.Stat(dir + e.Name()); err == nil && info.IsDir() {
			continue
		}
		names = append(names, dir+e.Name())
	}
	return names, nil // os.ReadDir sorts
}

// isHidden reports whether a name begins with a dot and its pattern does not. Names with two
// dots belong to the kubelet (..data and its target).
func isHidden(name, pattern string) bool {
	return strings.HasPrefix(name, "..") || name[0] == '.' && pattern[0] != '.'
}

func unreadable(name string, err error) conftree.Fault {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	return conftree.Fault{File: name, Message: "cannot be read: " + err.Error()}
}

// snapshot reads files again until neither the files nor their names change during the
// reading. It ignores missing files if mayBeMissing is true.
func snapshot(list func() ([]string, error), mayBeMissing bool) ([]file, error) {
	for range maxAttempts {
		names, err := list()
		if err != nil {
			return nil, err
		}
		files, stable, err := readAll(names, mayBeMissing)
		if err != nil {
			return nil, err
		}
		again, err := list()
		if err == nil && stable && slices.Equal(names, again) {
			return files, nil
		}
	}
	return nil, conftree.Faults{{Message: fmt.Sprintf("the files changed %d times while they were read; replace each file in one step, by renaming a new file to its name", maxAttempts)}}
}

// readAll reads files. stable is false if a file changed meanwhile. A file that cannot be
// read does not hide the faults of the others.
func readAll(names []string, mayBeMissing bool) (files []file, stable bool, err error) {
	if len(names) > maxFiles {
		return nil, false, conftree.Faults{{File: names[maxFiles], Message: fmt.Sprintf("there are %d files; give at most %d", len(names), maxFiles)}}
	}
	var infos []os.FileInfo
	var missing []string
	for _, name := range names {
		data, info, err := readFile(name)
		if mayBeMissing && errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, name)
			continue
		}
		files, infos = append(files, file{name, data, err}), append(infos, info)
	}
	for _, name := range missing {
		// Its link may have pointed into a directory that was just replaced.
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			return nil, false, nil
		}
	}
	for i, f := range files {
		if f.err != nil {
			continue
		}
		now, err := os.Stat(f.name)
		if err != nil || !os.SameFile(now, infos[i]) || now.Size() != infos[i].Size() || !now.ModTime().Equal(infos[i].ModTime()) {
			return nil, false, nil
		}
	}
	return files, true, nil
}

var (
	errDirectory = errors.New("it is a directory; give a file, or a pattern such as \"/etc/config/ip-masq*\"")
	errNoFile    = errors.New("it is not a regular file; give a regular file")
)

// readFile reads a file, but not more than shows that it is too long.
func readFile(name string) ([]byte, os.FileInfo, error) {
	info, err := os.Stat(name) // because opening a FIFO would wait for its writer
	if err != nil {
		return nil, nil, err
	}
	switch {
	case info.IsDir():
		return nil, nil, errDirectory
	case !info.Mode().IsRegular():
		return nil, nil, errNoFile
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	return data, info, err
}
