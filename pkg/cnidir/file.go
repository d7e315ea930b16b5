package cnidir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containernetworking/cni/libcni"
)

// extensions are the extensions of files that runtimes read.
var extensions = []string{".conf", ".conflist", ".json"}

// maxSize is the maximum size of a file that is read. Runtimes have no limit; real files
// have a few kilobytes.
const maxSize = 1 << 20

// file is a file of the directory of networks.
type file struct {
	name, path string
	info       fs.FileInfo
	text       []byte
	list       *list                  // nil unless it is a valid list
	single     *libcni.PluginConfig   // nil unless it is a valid file with one plugin
	separate   []*libcni.PluginConfig // plugins of the list in separate files
	made       string                 // what the list was made from, empty unless it was made here
	fault      error                  // why it is neither
}

// readAll reads the files that runtimes read, in the order of names.
func (d *dir) readAll() ([]*file, error) {
	entries, err := os.ReadDir(d.path) // sorted by name
	if err != nil {
		return nil, err
	}
	var out []*file
	for _, e := range entries {
		if e.IsDir() || !slices.Contains(extensions, filepath.Ext(e.Name())) {
			continue
		}
		f := &file{name: e.Name(), path: filepath.Join(d.path, e.Name())}
		f.fault = f.read()
		if errors.Is(f.fault, fs.ErrNotExist) && !f.isLink() {
			continue // removed since ReadDir
		}
		out = append(out, f)
	}
	return out, nil
}

func (f *file) isLink() bool { return f.info != nil && f.info.Mode()&fs.ModeSymlink != 0 }

// read reads a file as a runtime does.
func (f *file) read() (err error) {
	if f.info, err = os.Lstat(f.path); err != nil {
		return err
	}
	info := f.info
	if f.isLink() {
		if info, err = os.Stat(f.path); err != nil {
			return err
		}
	}
	// Opening a FIFO would wait for its writer.
	if !info.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	if info.Size() > maxSize {
		return fmt.Errorf("has %d bytes, more than the maximum of %d", info.Size(), maxSize)
	}
	if f.text, err = os.ReadFile(f.path); err != nil {
		return err
	}
	if filepath.Ext(f.name) != ".conflist" {
		f.single, err = libcni.NetworkPluginConfFromBytes(f.text)
		return err
	}
	l, err := parseList(f.text)
	if err != nil {
		return err
	}
	if !l.conf.LoadOnlyInlinedPlugins {
		f.separate, err = libcni.NetworkPluginConfsFromFiles(filepath.Dir(f.path), l.conf.Name)
		if err != nil {
			return err
		}
		if len(f.separate)+len(l.conf.Plugins) == 0 {
			return errors.New("has no plugins")
		}
	}
	f.list, f.made = l, madeFrom(f.text)
	return nil
}

// age returns the time since the last change of the file.
func (f *file) age() time.Duration {
	if f.info == nil {
		return 0
	}
	return time.Since(f.info.ModTime())
}

// runs reports whether masq is a plugin of the network.
func (f *file) runs() bool {
	switch {
	case f.list != nil:
		return len(f.list.masqIndexes()) > 0
	case f.single != nil:
		return f.single.Network.Type == Plugin
	}
	return false
}
