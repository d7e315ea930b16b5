// Package plugin finds the binary of the CNI plugin that belongs to this masq-cni.
package plugin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Find returns the path of the plugin that was delivered with the program self:
// beside it, as in a checkout, a tarball and the image, or in the directory of CNI
// plugins where the .deb (lib) and the .rpm (libexec) have it. others are searched last.
func Find(self string, others ...string) (string, error) {
	dir := filepath.Dir(self)
	places := append([]string{
		filepath.Join(dir, "masq"),
		filepath.Join(dir, "..", "lib", "cni", "masq"),
		filepath.Join(dir, "..", "libexec", "cni", "masq"),
	}, others...)
	for _, path := range places {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("the plugin is at none of %s; give its path with --plugin", strings.Join(places, ", "))
}
