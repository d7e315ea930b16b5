package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestFTP fetches a file with lftp from vsftpd, in active and passive mode, by IPv4 and
// IPv6. In active mode the client announces its own address. vsftpd refuses an address
// other than the client's, so only the helper's translation makes it work.
func TestFTP(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	servers := map[uint16]*vsftpd{21: w.vsftpd(21), 2121: w.vsftpd(2121)}
	for _, network := range []struct {
		name   string
		helped []uint16
	}{
		{"helper on both ports", []uint16{21, 2121}},
		{"helper on one port", []uint16{21}},
		{"no helper", nil},
	} {
		t.Run(network.name, func(t *testing.T) {
			conf := w.masq()
			if network.helped != nil {
				conf = conf.With(keys{"helpers": keys{"ftp": network.helped}})
			}
			p := w.in(t).attach("a", w.conflist("1.1.0", conf))
			for _, port := range []uint16{21, 2121} {
				for _, plan := range w.Plans() {
					p.fetchPassive(t, servers[port], plan)
					if slices.Contains(network.helped, port) {
						p.fetchActive(t, servers[port], plan)
					} else {
						p.refusedActive(t, servers[port], plan)
					}
				}
			}
		})
	}
}

func (p *pod) fetchPassive(t *testing.T, s *vsftpd, plan nstest.Plan) {
	t.Helper()
	got, log, err := p.lftp(t, at(plan.Server, s.port), true)
	verb := map[bool]string{true: "PASV", false: "EPSV"}[plan.Server.Is4()]
	if err != nil || !bytes.Equal(got, s.content) || !strings.Contains(log, "---> "+verb) {
		t.Errorf("%s to port %d: %d bytes of %d, %v\n%s", verb, s.port, len(got), len(s.content), err, log)
	}
}

func (p *pod) fetchActive(t *testing.T, s *vsftpd, plan nstest.Plan) {
	t.Helper()
	verb, own, node := announcements(p.addr(plan.Server), plan.Node)
	got, log, err := p.lftp(t, at(plan.Server, s.port), false)
	if err != nil || !bytes.Equal(got, s.content) || !strings.Contains(log, "---> "+own) {
		t.Errorf("%s to port %d: %d bytes of %d, %v\n%s", verb, s.port, len(got), len(s.content), err, log)
	}
	if read := s.newLog(t); !strings.Contains(read, node) || strings.Contains(read, own) {
		t.Errorf("%s to port %d: vsftpd should have read %s, not %s:\n%s", verb, s.port, node, own, read)
	}
}

func (p *pod) refusedActive(t *testing.T, s *vsftpd, plan nstest.Plan) {
	t.Helper()
	verb, own, _ := announcements(p.addr(plan.Server), plan.Node)
	got, log, err := p.lftp(t, at(plan.Server, s.port), false)
	if err == nil || len(got) != 0 || !strings.Contains(log, "500 Illegal "+verb+" command") {
		t.Errorf("%s to port %d without the helper: %d bytes, %v, want 500 Illegal %[1]s command\n%[5]s", verb, s.port, len(got), err, log)
	}
	if read := s.newLog(t); !strings.Contains(read, own) {
		t.Errorf("%s to port %d: vsftpd should have read %s:\n%s", verb, s.port, own, read)
	}
}

// announcements returns how the command for active mode begins with the container's
// address and with the node's.
func announcements(own, node netip.Addr) (verb, withOwn, withNode string) {
	if own.Is6() {
		// The kernel does not compress zeros.
		return "EPRT", fmt.Sprintf("EPRT |2|%s|", own), fmt.Sprintf("EPRT |2|%s|", node.StringExpanded())
	}
	commas := func(a netip.Addr) string { return "PORT " + strings.ReplaceAll(a.String(), ".", ",") + "," }
	return "PORT", commas(own), commas(node)
}

// TestFTPExpectation checks the expectation that the helper creates between the
// announcement of a data connection and the connection.
func TestFTPExpectation(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	s := w.vsftpd(21)
	helped := w.attach("a", w.conflist("1.1.0", w.masq().With(keys{"helpers": keys{"ftp": []uint16{21}}})))
	bare := w.attach("b", w.conflist("1.1.0", w.masq()))
	for _, plan := range w.Plans() {
		if list := w.expectations(plan.Node); list != "" {
			t.Fatalf("expectations before any transfer:\n%s", list)
		}
		c := bare.login(t, at(plan.Server, s.port))
		if l, err := c.announce(); err == nil {
			t.Errorf("without the helper %s was accepted", l.Addr())
		}
		if list := w.expectations(plan.Node); list != "" {
			t.Errorf("expectations without the helper:\n%s", list)
		}

		c = helped.login(t, at(plan.Server, s.port))
		l := assert.Must(c.announce())(t)
		list := w.expectations(plan.Node)
		for _, want := range []string{
			"proto=6", "src=" + plan.Server.String() + " ", "dst=" + plan.Node.String() + " ",
			fmt.Sprintf("dport=%d ", portOf(l.Addr())), "master-src=" + helped.addr(plan.Server).String() + " ", "helper=ftp",
		} {
			if !strings.Contains(list, want) {
				t.Errorf("the expectation of a transfer to %s has no %q:\n%s", l.Addr(), want, list)
			}
		}
		assert.NoError(t, c.PrintfLine("RETR file"))
		data := assert.Must(l.Accept())(t)
		got := assert.Must(io.ReadAll(data))(t)
		assert.NoError(t, data.Close())
		if !bytes.Equal(got, s.content) {
			t.Errorf("%d bytes, want %d", len(got), len(s.content))
		}
		if list := w.expectations(plan.Node); list != "" {
			t.Errorf("an expectation outlives its connection:\n%s", list)
		}
	}
}

// expectations lists the node's conntrack expectations of the family of like.
func (w *world) expectations(like netip.Addr) string {
	w.t.Helper()
	args := []string{"-L", "expect", "-f", "ipv4"}
	if like.Is6() {
		args[3] = "ipv6"
	}
	out, err := w.Node.Command(soon(w.t), "conntrack", args...).Output()
	if err != nil {
		w.t.Fatalf("conntrack %v: %v", args, err)
	}
	return string(out)
}

// ftpSession is a control connection that pauses where a test checks something.
type ftpSession struct {
	*textproto.Conn
	t     *testing.T
	pod   *pod
	local netip.Addr
}

// login opens a session that ends with the test.
func (p *pod) login(t *testing.T, server netip.AddrPort) *ftpSession {
	t.Helper()
	conn := assert.Must(p.Dial(soon(t), "tcp", netip.AddrPort{}, server))(t)
	t.Cleanup(func() { _ = conn.Close() })
	deadline, _ := soon(t).Deadline()
	assert.NoError(t, conn.SetDeadline(deadline))
	c := &ftpSession{textproto.NewConn(conn), t, p, p.addr(server.Addr())}
	for _, step := range []struct {
		send string
		want int
	}{{"", 220}, {"USER anonymous", 331}, {"PASS none", 230}, {"TYPE I", 200}} {
		if step.send != "" {
			assert.NoError(t, c.PrintfLine("%s", step.send))
		}
		if _, _, err := c.ReadResponse(step.want); err != nil {
			t.Fatalf("%s: %v", step.send, err)
		}
	}
	return c
}

// announce listens for a data connection and announces its port. The error is the
// server's answer.
func (c *ftpSession) announce() (*net.TCPListener, error) {
	l := assert.Must(c.pod.Listen(at(c.local, 0)))(c.t)
	c.t.Cleanup(func() { _ = l.Close() })
	deadline, _ := soon(c.t).Deadline()
	assert.NoError(c.t, l.SetDeadline(deadline))
	port := portOf(l.Addr())
	if c.local.Is6() {
		assert.NoError(c.t, c.PrintfLine("EPRT |2|%s|%d|", c.local, port))
	} else {
		assert.NoError(c.t, c.PrintfLine("PORT %s,%d,%d", strings.ReplaceAll(c.local.String(), ".", ","), port>>8, port&0xff))
	}
	_, _, err := c.ReadResponse(200)
	return l, err
}

// portOf returns the port of a TCP socket.
func portOf(a net.Addr) uint16 { return a.(*net.TCPAddr).AddrPort().Port() }

// vsftpd is a vsftpd that serves a file on both addresses of the server.
type vsftpd struct {
	port    uint16
	content []byte
	log     string
	read    int // bytes of the log that were read
}

func (w *world) vsftpd(port uint16) *vsftpd {
	w.t.Helper()
	dir := w.t.TempDir()
	root, empty := filepath.Join(dir, "root"), filepath.Join(dir, "empty")
	s := &vsftpd{port: port, content: make([]byte, 100_000), log: filepath.Join(dir, "log")}
	noise := rand.NewChaCha8([32]byte{byte(port)})
	_, _ = noise.Read(s.content)
	assert.NoError(w.t, os.Mkdir(root, 0o755))
	assert.NoError(w.t, os.Mkdir(empty, 0o755))
	assert.NoError(w.t, os.WriteFile(filepath.Join(root, "file"), s.content, 0o644))
	conf := filepath.Join(dir, "conf")
	assert.NoError(w.t, os.WriteFile(conf, nstest.VsftpdConf(port, root, empty, s.log), 0o600))
	// vsftpd reports errors of its configuration on standard input, later the client's connection.
	w.serve(w.Server, "tcp", port, "sh", "-c", `exec vsftpd "$0" 0>&2`, conf)
	return s
}

// newLog returns what vsftpd has logged since the last call, with the commands that it
// received.
func (s *vsftpd) newLog(t testing.TB) string {
	t.Helper()
	all := assert.Must(os.ReadFile(s.log))(t)
	fresh := all[s.read:]
	s.read = len(all)
	return string(fresh)
}

// lftp fetches the file with lftp. The log has the FTP commands and answers.
func (p *pod) lftp(t testing.TB, server netip.AddrPort, passive bool) (content []byte, log string, err error) {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "file")
	script := fmt.Sprintf(lftpScript, map[bool]string{true: "on", false: "off"}[passive], server, out)
	c := p.Command(soon(t), "lftp", "-d", "-c", script)
	c.Env = append(os.Environ(), "HOME="+dir, "LFTP_HOME="+dir)
	diag, err := c.CombinedOutput()
	content, readErr := os.ReadFile(out)
	if err == nil {
		err = readErr
	}
	return content, string(diag), err
}

// lftpScript makes lftp run its commands once, without retries.
const lftpScript = `set cmd:fail-exit yes
set net:max-retries 1
set net:timeout 5
set ftp:ssl-allow no
set ftp:use-feat no
set ftp:auto-passive-mode no
set ftp:prefer-epsv no
set ftp:passive-mode %s
open ftp://%s
get file -o %s
`

// serve runs a server until the test ends, and returns when it listens on a port.
func (w *world) serve(n *nstest.NS, network string, port uint16, name string, args ...string) {
	w.t.Helper()
	w.background(n.Command(context.Background(), name, args...))
	w.listening(n, network, port)
}

// background runs a program until the test ends. Its output is logged if the test fails.
func (w *world) background(c *nstest.Command) {
	w.t.Helper()
	var out bytes.Buffer
	if c.Stdout == nil {
		c.Stdout, c.Stderr = &out, &out
	}
	assert.NoError(w.t, c.Start())
	w.t.Cleanup(func() {
		_ = c.Cancel()
		_ = c.Wait() // it was killed
		if w.t.Failed() && out.Len() > 0 {
			w.t.Logf("%s:\n%s", strings.Join(c.Args, " "), out.String())
		}
	})
}

// listening waits until a server of the namespace listens on a port, without connecting to
// it.
func (w *world) listening(n *nstest.NS, network string, port uint16) {
	w.t.Helper()
	until(w.t, fmt.Sprintf("%s listens on %s port %d", n.Name(), network, port), func() bool {
		var tables []byte
		assert.NoError(w.t, n.Do(func() error {
			for _, family := range []string{"", "6"} {
				b, err := os.ReadFile("/proc/thread-self/net/" + network + family)
				if err != nil {
					return err
				}
				tables = append(tables, b...)
			}
			return nil
		}))
		for line := range strings.Lines(string(tables)) {
			// sl, local address, remote address, state
			f := strings.Fields(line)
			if len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && (network == "udp" || f[3] == "0A") {
				return true
			}
		}
		return false
	})
}
