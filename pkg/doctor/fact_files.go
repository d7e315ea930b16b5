package doctor

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// pluginDirs are the directories of plugins of containerd, CRI-O, Debian and podman
// (containers/common, pkg/config/default.go), for a node whose runtime is unknown.
var pluginDirs = []string{cnidir.DefaultBinDir, "/usr/lib/cni", "/usr/libexec/cni", "/usr/local/lib/cni", "/usr/local/libexec/cni"}

// networks returns the files of the directory of networks in the order of names. On a node
// without attachments the directory may be missing.
func (n *Node) networks() ([]cnidir.NetworkFile, error) {
	return read(n, "networks", func() ([]cnidir.NetworkFile, error) {
		files, err := cnidir.ReadNetworks(n.confDir())
		switch {
		case errors.Is(err, fs.ErrNotExist) && len(n.AllRecords) == 0:
			return nil, nil
		case errors.Is(err, fs.ErrNotExist):
			return nil, notChecked(n.confDir() + ": no such directory; " + onTheNode + ", or give the directory of the runtime with --conf-dir")
		}
		return files, err
	})
}

func (n *Node) confDir() string { return cmp.Or(n.ConfDir, cnidir.DefaultConfDir) }

// binDir returns the directory in which the runtime finds the plugin, or would.
func (n *Node) binDir() string {
	if p, err := n.plugin(); err == nil {
		return p.dir()
	}
	return cmp.Or(n.BinDir, cnidir.DefaultBinDir)
}

// newest returns the newest record of a network, or of all networks if the name is empty. It
// is nil without a record.
func (n *Node) newest(network string) (r *store.Record) {
	for i := range n.AllRecords {
		x := &n.AllRecords[i]
		if (network == "" || x.Network == network) && (r == nil || x.Created.After(r.Created)) {
			r = x
		}
	}
	return r
}

// olderThan reports whether the newest attachment of a network is older than a change of a
// file. A younger attachment proves that its runtime found the network elsewhere.
func (n *Node) olderThan(network string, changed time.Time) bool {
	r := n.newest(network)
	return r != nil && r.Created.Before(changed)
}

// pluginFile is where the runtime finds the plugin masq.
type pluginFile struct {
	// dirs are the directories that are searched, and source says how they are known.
	dirs   []string
	source string
	// visible are the directories that exist: masqd's pod has none of the node's.
	visible []string
	// path is empty if the plugin is missing.
	path string
	info fs.FileInfo
	// needed is what shows that the node needs the plugin. It is empty if nothing does.
	needed string
}

// plugin finds the plugin as libcni does: the first regular file (pkg/invoke/find.go).
func (n *Node) plugin() (*pluginFile, error) {
	return read(n, "plugin", func() (*pluginFile, error) {
		p := &pluginFile{}
		p.dirs, p.source = n.pluginDirs()
		for _, dir := range p.dirs {
			if info, err := os.Stat(dir); err != nil || !info.IsDir() {
				continue
			}
			p.visible = append(p.visible, dir)
			path := filepath.Join(dir, cnidir.Plugin)
			info, err := os.Stat(path)
			if err == nil && info.Mode().IsRegular() && p.path == "" {
				p.path, p.info = path, info
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		if r := n.newest(""); r != nil {
			p.needed = "attachment " + r.Identity()
			return p, nil
		}
		files, err := n.networks()
		if i := slices.IndexFunc(files, func(f cnidir.NetworkFile) bool { return f.Find() >= 0 }); i >= 0 {
			p.needed = "network configuration " + files[i].Path
		}
		return p, err
	})
}

// pluginDirs returns the directories in which the runtime searches for plugins, and how they
// are known.
func (n *Node) pluginDirs() (dirs []string, source string) {
	if n.BinDir != "" && n.BinDir != cnidir.DefaultBinDir {
		return []string{n.BinDir}, "--bin-dir"
	}
	// Two runtimes of a node may search different directories. The newest attachment shows
	// which are in use.
	if r := n.newest(""); r != nil {
		for dir := range strings.SplitSeq(r.CNIPath, string(os.PathListSeparator)) {
			if filepath.IsAbs(dir) {
				dirs = append(dirs, dir)
			}
		}
		if dirs != nil {
			return dirs, "CNI_PATH of attachment " + r.Identity()
		}
	}
	return pluginDirs, "directories of runtimes"
}

// installed returns the plugin. It is nil if the plugin is missing or not needed: then only
// the check of a missing plugin has a finding.
func (n *Node) installed() (*pluginFile, error) {
	p, err := n.plugin()
	switch {
	case err != nil || p.needed == "":
		return nil, err
	case len(p.visible) == 0:
		return nil, p.notVisible()
	case p.path == "":
		return nil, nil
	}
	return p, nil
}

// notVisible is the error of checks in a pod that does not mount the directories of plugins.
func (p *pluginFile) notVisible() error {
	return notChecked(strings.Join(p.dirs, ", ") + ": no such directory; " + onTheNode + ", or give the directory of the runtime with --bin-dir")
}

// dir returns the directory of the plugin, or that in which it should be.
func (p *pluginFile) dir() string {
	switch {
	case p.path != "":
		return filepath.Dir(p.path)
	case len(p.visible) > 0:
		return p.visible[0]
	}
	return p.dirs[0]
}

// installCommand returns the command that installs the plugin again.
func (p *pluginFile) installCommand() string {
	return "masq-cni install --ready-url '' --bin-dir " + report.ShellQuote(p.dir())
}
