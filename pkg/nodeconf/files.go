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
	// maxFiles bounds how many files are merged.
	maxFiles = 64
	// maxAttempts bounds how often files that change while they are read are
	// read again. A ConfigMap changes once a minute at most.
	maxAttempts = 10
)

// Load reads the files that match a path, or a pattern such as
// /etc/config/ip-masq*, and merges them in the order of their names. It returns
// the names too; where there are none, nothing matches and the configuration is
// Default. An error is of type Faults.
//
// Only the last element of a pattern can have *, ? and [. It matches no hidden
// names, such as the ..data of a ConfigMap, and no directories.
//
// What is read is what all files were at one moment, also while the kubelet swaps
// the directory that they are links into.
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

// LoadFiles reads and merges files each of which has to be there.
func LoadFiles(names ...string) (Node, error) {
	var distinct []string // a name that comes twice is one file
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

// match lists the names that match a pattern, in order.
func match(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{pattern}, nil
	}
	if _, err := os.Lstat(pattern); err == nil {
		return []string{pattern}, nil // a name may have such characters
	}
	dir, last := filepath.Split(pattern)
	if strings.ContainsAny(dir, `*?[\`) {
		return nil, conftree.Faults{{File: pattern, Message: "the pattern has a wildcard in the name of a directory; use wildcards in the last element only"}}
	}
	// filepath.Glob takes a directory that it cannot read for an empty one.
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

// isHidden reports whether a name begins with a dot that its pattern does not
// ask for. Names with two are the kubelet's (..data and what it links to).
func isHidden(name, pattern string) bool {
	return strings.HasPrefix(name, "..") || name[0] == '.' && pattern[0] != '.'
}

func unreadable(name string, err error) conftree.Fault {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	return conftree.Fault{File: name, Message: "cannot be read: " + err.Error()}
}

// snapshot reads files until none of them, and not the list of them, has changed
// between reading the first and having read the last. It leaves out what is not
// there, if it may.
func snapshot(list func() ([]string, error), absent bool) ([]file, error) {
	for range maxAttempts {
		names, err := list()
		if err != nil {
			return nil, err
		}
		files, stable, err := readAll(names, absent)
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

// readAll reads files, and reports whether they are all still what was read. One
// that cannot be read does not hide what is wrong with the others.
func readAll(names []string, absent bool) (files []file, stable bool, err error) {
	if len(names) > maxFiles {
		return nil, false, conftree.Faults{{File: names[maxFiles], Message: fmt.Sprintf("there are %d files; give at most %d", len(names), maxFiles)}}
	}
	var infos []os.FileInfo
	var missing []string
	for _, name := range names {
		data, info, err := readFile(name)
		if absent && errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, name)
			continue
		}
		files, infos = append(files, file{name, data, err}), append(infos, info)
	}
	for _, name := range missing {
		// A link may have led into a directory that was swapped just then.
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
	errNoFile    = errors.New("it is no regular file")
)

// readFile reads as much of a file as is needed to see that it is too long.
func readFile(name string) ([]byte, os.FileInfo, error) {
	info, err := os.Stat(name) // opening a FIFO would wait for its writer
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
