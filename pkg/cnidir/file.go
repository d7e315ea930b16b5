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

// extensions are those of the files that runtimes look at.
var extensions = []string{".conf", ".conflist", ".json"}

// largest is the size of a file that is read. Runtimes know no limit; nobody comes
// near this one.
const largest = 1 << 20

// file is one of the directory of networks.
type file struct {
	name, path string
	info       fs.FileInfo
	text       []byte
	list       *list                // of a list that can be read
	single     *libcni.PluginConfig // of another file that can
	made       string               // what a list of our own was made from
	fault      error                // why it is neither
}

// readAll reads the files that runtimes look at, in their order.
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
			continue // gone meanwhile
		}
		out = append(out, f)
	}
	return out, nil
}

func (f *file) isLink() bool { return f.info != nil && f.info.Mode()&fs.ModeSymlink != 0 }

// read reads the file as a runtime does.
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
		return errors.New("is no regular file")
	}
	if info.Size() > largest {
		return fmt.Errorf("has %d bytes, more than the %d that are read", info.Size(), largest)
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
		more, err := libcni.NetworkPluginConfsFromFiles(filepath.Dir(f.path), l.conf.Name)
		if err != nil {
			return err
		}
		if len(more)+len(l.conf.Plugins) == 0 {
			return errors.New("it has no plugins")
		}
	}
	f.list, f.made = l, madeFrom(f.text)
	return nil
}

// age is how long ago the file was written to.
func (f *file) age() time.Duration {
	if f.info == nil {
		return 0
	}
	return time.Since(f.info.ModTime())
}

// runs reports whether masq is one of the file's plugins.
func (f *file) runs() bool {
	switch {
	case f.list != nil:
		return len(f.list.ours()) > 0
	case f.single != nil:
		return f.single.Network.Type == Plugin
	}
	return false
}
