package cnidir

import (
	"context"
	"syscall"
	"time"

	"github.com/containernetworking/cni/libcni"
)

// NetworkFile is a file of the directory of networks, as runtimes read it.
type NetworkFile struct {
	Path string
	// Text is the content. It is nil if the file cannot be read.
	Text []byte
	// Modified is when the content changed, and Changed when the content, the name or the
	// mode changed (st_mtime and st_ctime).
	Modified, Changed time.Time
	// Name and CNIVersion are from the configuration.
	Name, CNIVersion string
	// Made is true if masq-cni install wrote the file.
	Made    bool
	Plugins []NetworkPlugin
	// Fault says why runtimes cannot use the file. Then Name, CNIVersion, Made and
	// Plugins are empty.
	Fault error
}

// NetworkPlugin is a plugin of a network.
type NetworkPlugin struct {
	Type string
	// IPAM is true if the plugin leases addresses: it makes the link.
	IPAM bool
	// From and To are the first byte of the configuration in Text, and the byte after the
	// last. They are 0 if the plugin has a separate file.
	From, To int
}

// Find returns the index of the first plugin masq, or -1.
func (f *NetworkFile) Find() int {
	for i, p := range f.Plugins {
		if p.Type == Plugin {
			return i
		}
	}
	return -1
}

// ReadNetworks reads the files of a directory of networks, in the order of names: a runtime
// uses the first.
func ReadNetworks(confDir string) ([]NetworkFile, error) {
	files, err := (&dir{path: confDir}).readAll()
	if err != nil {
		return nil, err
	}
	out := make([]NetworkFile, len(files))
	for i, f := range files {
		out[i] = f.network()
	}
	return out, nil
}

func (f *file) network() NetworkFile {
	n := NetworkFile{Path: f.path, Text: f.text, Fault: f.fault}
	if f.info != nil {
		n.Modified, n.Changed = f.info.ModTime(), f.info.ModTime()
		if s, ok := f.info.Sys().(*syscall.Stat_t); ok {
			n.Changed = time.Unix(s.Ctim.Unix())
		}
	}
	switch {
	case f.fault != nil:
	case f.single != nil:
		n.Name, n.CNIVersion = f.single.Network.Name, f.single.Network.CNIVersion
		n.Plugins = []NetworkPlugin{pluginOf(f.single, span{0, len(f.text)})}
	case f.list != nil:
		n.Name, n.CNIVersion, n.Made = f.list.conf.Name, f.list.conf.CNIVersion, f.made != ""
		for i, p := range f.list.conf.Plugins {
			n.Plugins = append(n.Plugins, pluginOf(p, f.list.at[i]))
		}
		for _, p := range f.separate {
			n.Plugins = append(n.Plugins, pluginOf(p, span{}))
		}
	}
	return n
}

func pluginOf(p *libcni.PluginConfig, at span) NetworkPlugin {
	return NetworkPlugin{Type: p.Network.Type, IPAM: p.Network.IPAM.Type != "", From: at.from, To: at.to}
}

// PluginVersion returns the version of an installed plugin, which it runs after it has checked
// that it is the plugin of masq-cni.
func PluginVersion(ctx context.Context, path string) (string, error) { return versionOf(ctx, path) }

// IsOlder reports whether version a is older than b. It is false if that is unknown.
func IsOlder(a, b string) bool {
	c, sure := compare(a, b)
	return sure && c < 0
}
