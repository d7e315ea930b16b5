package nodeconf

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// write writes a file into a directory, and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "ip-masq-agent", "nonMasqueradeCIDRs: [10.0.0.0/8]")
	b := write(t, dir, "ip-masq-agent-cloud", "nonMasqueradeCIDRs: [11.0.0.0/8]")
	write(t, dir, "other", "x")
	write(t, dir, ".ip-masq-agent.swp", "x")
	if err := os.Mkdir(filepath.Join(dir, "ip-masq.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		pattern string
		files   []string
		direct  []string
	}{
		{a, []string{a}, []string{"10.0.0.0/8"}},
		{filepath.Join(dir, "ip-masq*"), []string{a, b}, []string{"10.0.0.0/8", "11.0.0.0/8"}},
		{filepath.Join(dir, "*-[c]loud"), []string{b}, []string{"11.0.0.0/8"}},
		{filepath.Join(dir, "none"), nil, rfc1918},
		{filepath.Join(dir, "none*"), nil, rfc1918},
		{filepath.Join(dir, "*.d"), nil, rfc1918},
		{filepath.Join(dir, "none", "none*"), nil, rfc1918},
	} {
		n, files, err := Load(tt.pattern)
		if err != nil || !slices.Equal(files, tt.files) || !slices.Equal(n.Policy.NonMasquerade, prefixesOf(tt.direct...)) {
			t.Errorf("%s: %v, %v, %v", tt.pattern, n.Policy.NonMasquerade, files, err)
		}
		if n.Assumed != (tt.files == nil) {
			t.Errorf("%s: assumed %t", tt.pattern, n.Assumed)
		}
	}
	// The name of a file may look like a pattern.
	odd := write(t, dir, "[odd]*", "masqLinkLocal: true")
	if n, files, err := Load(odd); err != nil || !slices.Equal(files, []string{odd}) || !n.Policy.LinkLocal4 {
		t.Error(files, err)
	}
}

func TestLoadFaults(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "a", "mssClamp: pmtu")
	b := write(t, dir, "b", "\nmssClamp: off\nx: 1")
	_, files, err := Load(filepath.Join(dir, "?"))
	wantFaults(t, err, b+":2:11: mssClamp: \"off\" conflicts with \"pmtu\" at "+a+":1:11; keep one of them\n"+
		b+":3:1: \"x\" is an unknown key; remove it")
	if !slices.Equal(files, []string{a, b}) {
		t.Errorf("got %v", files)
	}
	_, _, err = Load(dir)
	wantFaults(t, err, dir+`: cannot be read: it is a directory; give a file, or a pattern such as "/etc/config/ip-masq*"`)
	_, _, err = Load(filepath.Join(a, "x"))
	wantFaults(t, err, filepath.Join(a, "x")+": cannot be read: not a directory")
	_, _, err = Load(filepath.Join(a, "x*"))
	wantFaults(t, err, filepath.Join(a, "x*")+": cannot be read: not a directory")
	_, _, err = Load(filepath.Join(dir, "[a"))
	wantFaults(t, err, filepath.Join(dir, "[a")+`: the pattern is not valid; give one such as "/etc/config/ip-masq*"`)
	_, _, err = Load(filepath.Join(dir, "*", "x"))
	wantFaults(t, err, filepath.Join(dir, "*", "x")+": the pattern has a wildcard in the name of a directory; use wildcards in the last element only")
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = Load(pipe)
	wantFaults(t, err, pipe+": cannot be read: it is not a regular file; give a regular file")
	// A missing file does not hide the faults of the others.
	_, err = LoadFiles(a, filepath.Join(dir, "none"), b, filepath.Join(dir, "\x1b"))
	wantFaults(t, err, filepath.Join(dir, "none")+": cannot be read: no such file or directory\n"+
		b+":2:11: mssClamp: \"off\" conflicts with \"pmtu\" at "+a+":1:11; keep one of them\n"+
		b+":3:1: \"x\" is an unknown key; remove it\n"+
		fmt.Sprintf("%q: cannot be read: no such file or directory", filepath.Join(dir, "\x1b")))
	many := t.TempDir()
	for i := range maxFiles + 1 {
		write(t, many, fmt.Sprintf("f%02d", i), "")
	}
	_, _, err = Load(filepath.Join(many, "f*"))
	wantFaults(t, err, filepath.Join(many, "f64")+": there are 65 files; give at most 64")
	long := write(t, dir, "long", strings.Repeat("#", maxBytes+1))
	_, _, err = Load(long)
	wantFaults(t, err, long+": the file is longer than 1048576 bytes; give a shorter file")
}

func TestLoadFilesOnce(t *testing.T) {
	a := write(t, t.TempDir(), "a", "sourceCIDRs: [10.0.0.0/8]")
	if n, err := LoadFiles(a, a); err != nil || len(n.SourceCIDRs) != 1 {
		t.Error(n, err)
	}
}

// configMap is a volume as the kubelet makes it: names are links through ..data, which is a
// link that the kubelet replaces by a rename (pkg/volume/util/atomic_writer.go of Kubernetes).
type configMap struct {
	t       *testing.T
	dir     string
	version int
	now     string
}

func (c *configMap) swap(files map[string]string) {
	c.t.Helper()
	check := func(err error) {
		if err != nil {
			c.t.Error(err)
		}
	}
	c.version++
	next := fmt.Sprintf("..2026_11_22_%d", c.version)
	check(os.Mkdir(filepath.Join(c.dir, next), 0o700))
	for name, text := range files {
		check(os.WriteFile(filepath.Join(c.dir, next, name), []byte(text), 0o600))
	}
	check(os.Symlink(next, filepath.Join(c.dir, "..data_tmp")))
	check(os.Rename(filepath.Join(c.dir, "..data_tmp"), filepath.Join(c.dir, "..data")))
	for name := range files {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(c.dir, name)); err != nil && !os.IsExist(err) {
			check(err)
		}
	}
	if c.now != "" {
		check(os.RemoveAll(filepath.Join(c.dir, c.now)))
	}
	c.now = next
}

func TestConfigMap(t *testing.T) {
	c := &configMap{t: t, dir: t.TempDir()}
	c.swap(map[string]string{"ip-masq-agent": "masqLinkLocal: true", "ip-masq-agent-cloud": "masqLinkLocalIPv6: true"})
	for _, pattern := range []string{"ip-masq*", "*", "?p-masq*"} {
		n, files, err := Load(filepath.Join(c.dir, pattern))
		if err != nil || len(files) != 2 || !n.Policy.LinkLocal4 || !n.Policy.LinkLocal6 {
			t.Errorf("%s: %v, %v", pattern, files, err)
		}
	}
	// A removed key leaves a dangling link for a moment.
	c.swap(map[string]string{"ip-masq-agent": "masqLinkLocal: true"})
	n, files, err := Load(filepath.Join(c.dir, "ip-masq*"))
	if err != nil || len(files) != 1 || n.Policy.LinkLocal6 {
		t.Errorf("%v, %v", files, err)
	}
	if n, files, err := Load(filepath.Join(c.dir, "ip-masq-agent-cloud")); err != nil || files != nil || !n.Assumed {
		t.Errorf("%v, %v", files, err)
	}
}

// While the kubelet replaces the files, Load reads the old version or the new version.
func TestReplacedWhileReading(t *testing.T) {
	c := &configMap{t: t, dir: t.TempDir()}
	write := func(version int) {
		clamp := fmt.Sprintf("mssClamp: %d\n", 1000+version)
		c.swap(map[string]string{"ip-masq-a": clamp, "ip-masq-b": clamp + strings.Repeat("#\n", version*100)})
	}
	write(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for version := 1; ; version = version%200 + 1 {
			select {
			case <-stop:
				return
			default:
				write(version)
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
	last, changes, busy := 0, 0, 0
	for i := 0; i < 2000 && changes < 200; i++ {
		n, files, err := Load(filepath.Join(c.dir, "ip-masq*"))
		if err != nil {
			// The kubelet pauses between two changes. Without a pause Load may give up, but
			// must never read files of two versions.
			if !strings.Contains(err.Error(), "while they were read") {
				t.Fatal(err)
			}
			busy++
			continue
		}
		if len(files) != 2 || n.Policy.MSSClamp.Bytes() == 0 {
			t.Fatalf("%v: %v", files, n.Policy.MSSClamp)
		}
		if now := n.Policy.MSSClamp.Bytes(); now != last {
			last, changes = now, changes+1
		}
	}
	if changes < 10 {
		t.Errorf("saw %d changes and gave up %d times: too few for a proof", changes, busy)
	}
	t.Logf("%d changes, gave up %d times", changes, busy)
}
