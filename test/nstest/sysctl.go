package nstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Sysctl sets a key such as net.ipv4.ip_forward. A key with slashes is used unchanged, for
// interfaces with a dot in their name.
func (n *NS) Sysctl(key, value string) error {
	path, err := sysctlPath(key)
	if err != nil {
		return err
	}
	return n.Do(func() error { return os.WriteFile(path, []byte(value), 0o644) })
}

// ReadSysctl returns the value of a key.
func (n *NS) ReadSysctl(key string) (string, error) {
	path, err := sysctlPath(key)
	if err != nil {
		return "", err
	}
	var b []byte
	err = n.Do(func() (err error) {
		b, err = os.ReadFile(path)
		return err
	})
	return strings.TrimSpace(string(b)), err
}

func sysctlPath(key string) (string, error) {
	if !strings.Contains(key, "/") {
		key = strings.ReplaceAll(key, ".", "/")
	}
	path := filepath.Join("/proc/sys", key)
	// Other keys are settings of the whole machine.
	if !strings.HasPrefix(path, "/proc/sys/net/") {
		return "", fmt.Errorf("sysctl %s is not one of a network namespace", key)
	}
	return path, nil
}
