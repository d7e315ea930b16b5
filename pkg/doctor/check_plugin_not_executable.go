package doctor

import (
	"context"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/report"
)

var pluginNotExecutable = Check{
	ID:       "plugin-not-executable",
	Title:    "The plugin may not be executed",
	Severity: report.SeverityError,
	Reads:    "the mode of the plugin, and the mount flags of its file system",
	Applies:  "nodes that need the plugin and have it",
	Remedy:   "Use `chmod 755`, or a file system without `noexec`.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		p, err := n.installed()
		if p == nil || err != nil {
			return nil, err
		}
		f := Finding{Severity: report.SeverityError, Object: "plugin " + p.path, Why: whyNoPlugin}
		// execve(2) returns EACCES without an x bit, to root too.
		if p.info.Mode().Perm()&0o111 == 0 {
			f.Message = "has no permission to be executed"
			f.Evidence = []Evidence{{"mode of " + p.path, fmt.Sprintf("%04o", p.info.Mode().Perm())}}
			f.Remedy.Commands = []string{"chmod 755 " + report.ShellQuote(p.path)}
			return []Finding{f}, nil
		}
		var s unix.Statfs_t
		if err := unix.Statfs(p.path, &s); err != nil {
			return nil, fmt.Errorf("statfs %s: %w", p.path, err)
		}
		if s.Flags&unix.ST_NOEXEC == 0 {
			return nil, nil
		}
		f.Message = "is on a file system that is mounted with noexec"
		f.Evidence = []Evidence{{"mount flags of " + filepath.Dir(p.path), "noexec"}}
		f.Remedy.Commands = []string{`mount -o remount,exec "$(findmnt -n -o TARGET -T ` + report.ShellQuote(p.path) + `)"`}
		return []Finding{f}, nil
	},
}
