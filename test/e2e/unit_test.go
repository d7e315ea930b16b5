package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// unit runs what systemctl would run, from the lines of the unit: with only the capabilities
// that it allows, and a file system that is read-only except for its directories.
type unit string

func (p unit) prove(m *docNode, _ docCommand) error {
	lines, err := m.unitLines()
	if err != nil {
		return err
	}
	switch p {
	case "start":
		if err := m.startUnit(lines); err != nil {
			return err
		}
		return m.soon(`curl -s http://127.0.0.1:9468/readyz | grep '"ready":true'`)
	case "reload":
		if err := m.shell(fmt.Sprintf("MAINPID=%d; %s", m.masqd.Process.Pid, lines["ExecReload"])).Run(); err != nil {
			return err
		}
		return m.soon(`curl -s http://127.0.0.1:9468/metrics | grep 'masq_syncs_total{reason="signal"}'`)
	case "restart": // starts it, waits until it is ready, and stops it again
		return errors.Join(unit("start").prove(m, docCommand{}), unit("stop").prove(m, docCommand{}))
	default:
		if err := m.masqd.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		return m.masqd.Wait()
	}
}

// unitLines returns the lines of the installed unit.
func (m *docNode) unitLines() (map[string]string, error) {
	file, err := m.shell("cat /etc/systemd/system/masqd.service").Output()
	if err != nil {
		return nil, err
	}
	lines := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)=(.*)$`).FindAllSubmatch(file, -1) {
		lines[string(m[1])] = string(m[2])
	}
	return lines, nil
}

// strict has the effect of ProtectSystem=strict in systemd.exec(5): everything is read-only
// except /dev, /proc, /sys and the given directories. Mounts of network namespaces (nsfs) are
// not changed.
const strict = `set -e
for dir in $0; do mkdir -p "$dir" && mount --bind "$dir" "$dir"; done
for at in $(grep -v ' - nsfs ' /proc/self/mountinfo | cut -d ' ' -f 5); do
	case $at in /dev|/dev/*|/proc|/proc/*|/sys|/sys/*) continue ;; esac
	# A mount that another mount hides cannot be remounted, and need not be.
	[[ " $0 " == *" $at "* ]] || mount -n -o remount,bind,ro "$(printf %b "$at")" 2>/dev/null || true
done
exec "$@"`

// startUnit runs ExecStart with the unit's other settings.
func (m *docNode) startUnit(lines map[string]string) error {
	if lines["ProtectSystem"] != "strict" {
		return errors.New("the unit does not protect the system")
	}
	allowed := strings.ReplaceAll(strings.ToLower(lines["CapabilityBoundingSet"]), "cap_", ",+")
	var line strings.Builder
	if file, optional := strings.CutPrefix(lines["EnvironmentFile"], "-"); file != "" {
		if optional {
			fmt.Fprintf(&line, "[ ! -e %s ] || ", file)
		}
		fmt.Fprintf(&line, "export $(grep -v '^#' %s)\n", file)
	}
	writable := m.unitDirectories(lines)
	fmt.Fprintf(&line, "exec unshare --mount bash -c %s %s setpriv --no-new-privs --bounding-set=-all%s %s",
		"'"+strings.ReplaceAll(strict, "'", `'\''`)+"'", "'"+strings.Join(writable, " ")+"'", strings.ReplaceAll(allowed, " ", ""), lines["ExecStart"])
	m.masqd = m.shell(line.String())
	log, err := os.Create(filepath.Join(m.dir, "masqd.log"))
	if err != nil {
		return err
	}
	m.masqd.Stderr = log
	return m.masqd.Start()
}

// unitDirectories returns the directories that systemd makes for the unit and lets it write to.
func (*docNode) unitDirectories(lines map[string]string) (out []string) {
	for _, c := range []struct{ key, parent string }{{"RuntimeDirectory", "/run"}, {"StateDirectory", "/var/lib"}} {
		if name := lines[c.key]; name != "" {
			out = append(out, filepath.Join(c.parent, name))
		}
	}
	return out
}

// systemd accepts the unit, and lets masqd write to the directories that docs/natlog.md names
// for the NAT log, and to no others.
func TestUnit(t *testing.T) {
	named := regexp.MustCompile(`(?m)(?:--nat-log |MASQD_NAT_LOG=)(/\S+)`).FindAllStringSubmatch(textOf("docs/natlog.md"), -1)
	if len(named) < 2 {
		t.Fatalf("docs/natlog.md names %v", named)
	}
	dirs := map[string]bool{"/srv/nat-log": false, "/var/log/nat-log": false}
	for _, m := range named {
		dirs[m[1]] = true
	}
	for dir, writable := range dirs {
		t.Run(dir, func(t *testing.T) {
			m := newDocNode(t)
			m.installed()
			m.must("install -D -m 644 -t /etc/systemd/system deploy/systemd/masqd.service")
			if out, err := m.shell("systemd-analyze verify --man=no /etc/systemd/system/masqd.service").CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
				t.Errorf("systemd does not accept the unit: %v\n%s", err, out)
			}
			m.write("/etc/default/masqd", "# of a person\nMASQD_NAT_LOG="+dir+"\n")
			lines, err := m.unitLines()
			assert.NoError(t, err)
			assert.NoError(t, m.startUnit(lines))
			if writable {
				assert.NoError(t, m.soon("ls "+dir+"/lock"))
				assert.NoError(t, m.soon(`curl -s http://127.0.0.1:9468/metrics | grep '^masq_nat_log_stopped 0'`))
			} else {
				assert.NoError(t, m.soon("grep -i 'read-only file system' "+filepath.Join(m.dir, "masqd.log")))
			}
			_ = m.masqd.Process.Signal(syscall.SIGTERM)
			_ = m.masqd.Wait()
		})
	}
}
