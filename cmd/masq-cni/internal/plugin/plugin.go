// Package plugin finds the binary of the CNI plugin that belongs to this masq-cni.
package plugin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Find returns the path of the plugin that was delivered with the program self. It is in the
// same directory in a checkout, a tarball and the image; the .deb has it in lib/cni, the
// .rpm in libexec/cni. Find searches others last.
func Find(self string, others ...string) (string, error) {
	dir := filepath.Dir(self)
	paths := append([]string{
		filepath.Join(dir, "masq"),
		filepath.Join(dir, "..", "lib", "cni", "masq"),
		filepath.Join(dir, "..", "libexec", "cni", "masq"),
	}, others...)
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no plugin at %s; give its path with --plugin", strings.Join(paths, " or "))
}
