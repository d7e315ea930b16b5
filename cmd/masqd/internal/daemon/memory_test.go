package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCgroupLimit(t *testing.T) {
	for name, c := range map[string]struct {
		self  string
		files map[string]string
		want  int64
	}{
		"v2":                 {"0::/kubepods/pod1\n", map[string]string{"kubepods/pod1/memory.max": "134217728\n"}, 128 << 20},
		"v2, in a container": {"0::/../../pod1\n", map[string]string{"memory.max": "67108864\n"}, 64 << 20},
		"v2, none":           {"0::/a\n", map[string]string{"a/memory.max": "max\n"}, 0},
		"v1":                 {"5:cpu,cpuacct:/x\n4:memory:/x\n0::/\n", map[string]string{"memory/x/memory.limit_in_bytes": "134217728"}, 128 << 20},
		"v1, none":           {"4:memory:/x\n", map[string]string{"memory/x/memory.limit_in_bytes": "9223372036854771712"}, 0},
		"no file":            {"0::/a\n", nil, 0},
		"malformed":          {"memory\n\n:::\n", map[string]string{"memory.max": "-"}, 0},
	} {
		dir := t.TempDir()
		write := func(path, text string) {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(filepath.Join(dir, "self"), c.self)
		for path, text := range c.files {
			write(filepath.Join(dir, "mount", path), text)
		}
		got, ok := cgroupLimit(filepath.Join(dir, "self"), filepath.Join(dir, "mount"))
		if got != c.want || ok != (c.want != 0) {
			t.Errorf("%s: %d, %t", name, got, ok)
		}
	}
}
