package doctor

import (
	"bufio"
	"bytes"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/veth"
)

// rooted returns a path below the root of the node's file system.
func (n *Node) rooted(name string) string { return filepath.Join("/", n.Root, name) }

// hostLinks returns the host's ends of links that masq made, for the examined attachments.
func (n *Node) hostLinks() ([]veth.Interface, error) {
	all, err := n.interfaces()
	if err != nil {
		return nil, err
	}
	byName := make(map[string]veth.Interface, len(all))
	for _, i := range all {
		byName[i.Name] = i
	}
	var out []veth.Interface
	for _, r := range n.ready() {
		if i, ok := byName[r.HostName()]; ok && !r.Chained {
			out = append(out, i)
		}
	}
	return out, nil
}

// process is a running program.
type process struct {
	pid  int
	name string // as in /proc/PID/comm, at most 15 bytes
}

// processNamed returns a process with this name that is in the network namespace of the
// node, or nil. It skips processes whose namespace it may not read.
func (n *Node) processNamed(name string) (*process, error) {
	return read(n, "process "+name, func() (*process, error) {
		var node unix.Stat_t
		if err := unix.Stat("/proc/thread-self/ns/net", &node); err != nil {
			return nil, err
		}
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			dir := "/proc/" + e.Name()
			comm, err := os.ReadFile(dir + "/comm") // fails if the process has ended
			if err != nil || string(bytes.TrimSpace(comm)) != name {
				continue
			}
			var of unix.Stat_t
			if unix.Stat(dir+"/ns/net", &of) == nil && of.Dev == node.Dev && of.Ino == node.Ino {
				return &process{pid, name}, nil
			}
		}
		return nil, nil
	})
}

// evidence returns the evidence that the process runs.
func (p *process) evidence() Evidence {
	return Evidence{"/proc/" + strconv.Itoa(p.pid) + "/comm", p.name}
}

// iniKey is a key of an INI file with its section.
type iniKey struct{ section, key, value string }

// maxConfigFile is the greatest number of bytes that are read of a configuration file.
const maxConfigFile = 1 << 20

// readINI reads a file of sections and keys, as systemd and NetworkManager have them. An
// unreadable line is skipped.
func readINI(name string) ([]iniKey, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseINI(b[:min(len(b), maxConfigFile)]), nil
}

func parseINI(b []byte) (out []iniKey) {
	section := ""
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(name, "]")
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok {
			out = append(out, iniKey{section, strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return out
}

// shadowedFiles returns the files with an extension in directories below root, sorted by
// their names without directory. In a later directory, a file replaces one with the same
// name.
func shadowedFiles(extension string, dirs ...string) []string {
	files := map[string]string{}
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir) // a missing directory has no files
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), extension) {
				files[e.Name()] = filepath.Join(dir, e.Name())
			}
		}
	}
	var out []string
	for _, f := range files {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	return out
}

// globs reports whether a pattern of a shell matches a name. A malformed pattern does not.
func globs(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
