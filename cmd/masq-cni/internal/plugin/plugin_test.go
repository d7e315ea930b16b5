package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	for _, c := range []struct{ name, self, plugin string }{
		{"tarball", "bin/masq-cni", "bin/masq"},
		{"deb", "usr/bin/masq-cni", "usr/lib/cni/masq"},
		{"rpm", "usr/bin/masq-cni", "usr/libexec/cni/masq"},
		{"elsewhere", "usr/bin/masq-cni", "opt/cni/bin/masq"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			self, plugin := filepath.Join(root, c.self), filepath.Join(root, c.plugin)
			other := filepath.Join(root, "opt/cni/bin/masq")
			if c.plugin != "bin/masq" { // Find must skip a directory with the name masq
				if err := os.MkdirAll(filepath.Join(filepath.Dir(self), "masq"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if path, err := Find(self, other); err == nil || !strings.Contains(err.Error(), other) {
				t.Errorf("without a plugin: %s, %v", path, err)
			}
			if err := os.MkdirAll(filepath.Dir(plugin), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(plugin, nil, 0o755); err != nil {
				t.Fatal(err)
			}
			if path, err := Find(self, other); err != nil || path != plugin {
				t.Errorf("found %s, %v; want %s", path, err, plugin)
			}
		})
	}
}
