package kube

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// vsftpd is a vsftpd that serves a file outside the cluster, on both families.
type vsftpd struct {
	content string
	log     string
	read    int // bytes of the log that were read
}

func (c *cluster) vsftpd(t testing.TB, port uint16) *vsftpd {
	t.Helper()
	dir := t.TempDir()
	root, empty := filepath.Join(dir, "root"), filepath.Join(dir, "empty")
	s := &vsftpd{content: fmt.Sprintf("the file of port %d", port), log: filepath.Join(dir, "log")}
	assert.NoError(t, os.Mkdir(root, 0o755))
	assert.NoError(t, os.Mkdir(empty, 0o755))
	assert.NoError(t, os.WriteFile(filepath.Join(root, "file"), []byte(s.content), 0o644))
	conf := filepath.Join(dir, "conf")
	assert.NoError(t, os.WriteFile(conf, nstest.VsftpdConf(port, root, empty, s.log), 0o600))
	// vsftpd reports errors of its configuration on standard input, later the client's connection.
	server := c.outside.Command(context.WithoutCancel(t.Context()), "sh", "-c", `exec vsftpd "$0" 0>&2`, conf)
	log := c.log(fmt.Sprintf("vsftpd-%d", port))
	server.Stdout, server.Stderr = log, log
	assert.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Cancel()
		_ = server.Wait() // it was killed
	})
	until(t, patience, fmt.Sprintf("vsftpd listens on port %d", port), func() error {
		conn, err := c.outside.Dial(soon(t), "tcp", netip.AddrPort{}, at(outsideAddrs[0], port))
		if err != nil {
			return err
		}
		return conn.Close()
	})
	s.newLog(t)
	return s
}

// newLog returns what vsftpd has logged since the last call, with the commands that it received.
func (s *vsftpd) newLog(t testing.TB) string {
	t.Helper()
	all, err := os.ReadFile(s.log)
	if !errors.Is(err, fs.ErrNotExist) { // no client has connected yet
		assert.NoError(t, err)
	}
	fresh := all[s.read:]
	s.read = len(all)
	return string(fresh)
}

// announcements returns how the command for active mode begins with the pod's address and with
// the node's.
func announcements(own, node netip.Addr) (verb, withOwn, withNode string) {
	if own.Is6() {
		// The kernel does not compress zeros.
		return "EPRT", fmt.Sprintf("EPRT |2|%s|", own), fmt.Sprintf("EPRT |2|%s|", node.StringExpanded())
	}
	commas := func(a netip.Addr) string { return "PORT " + strings.ReplaceAll(a.String(), ".", ",") + "," }
	return "PORT", commas(own), commas(node)
}
