package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestRlogin logs in with a real rlogin at a real rlogind, which refuses clients without a
// privileged source port.
func TestRlogin(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	d := w.trusting()
	for _, network := range []struct {
		name    string
		toPorts string
	}{{"the kernel's choice of ports", ""}, {"a range of ports", "20000-29999"}} {
		t.Run(network.name, func(t *testing.T) {
			w := w.in(t)
			p := w.attach("a", w.conflist("1.1.0", w.masq().With(keys{"toPorts": network.toPorts})))
			for _, plan := range w.Plans() {
				rlogind := d.serve(at(plan.Server, 513), "in.rlogind")
				if out, err := p.rlogin(t, plan.Server); err != nil {
					t.Errorf("no session at %s: %v\n%s", plan.Server, err, out)
				}
				for _, peer := range rlogind.close() {
					if peer.Addr() != plan.Node || peer.Port() >= 1024 {
						t.Errorf("rlogind was connected from %s, want a port of %s below 1024", peer, plan.Node)
					}
				}
				// The range applies to other source ports.
				tcp, _ := w.servers(plan.Server)
				ordinary := assert.Must(p.Who(soon(t), netip.AddrPort{}, tcp))(t)
				if in := ordinary.Port() >= 20000 && ordinary.Port() <= 29999; network.toPorts != "" && !in {
					t.Errorf("an ordinary connection came from %s, want a port of %s", ordinary, network.toPorts)
				}
			}
		})
	}
	t.Run("a range of ports for all", func(t *testing.T) {
		w := w.in(t)
		p := w.attach("a", w.conflist("1.1.0", w.masq().With(keys{"ipMasq": false})))
		w.otherRule("meta l4proto tcp masquerade to :20000-29999")
		for _, plan := range w.Plans() {
			rlogind := d.serve(at(plan.Server, 513), "in.rlogind")
			if out, err := p.rlogin(t, plan.Server); err == nil {
				t.Errorf("a session at %s:\n%s", plan.Server, out)
			}
			peers := rlogind.close()
			if len(peers) != 1 || peers[0].Port() < 20000 {
				t.Fatalf("rlogind was connected from %v, want one port of 20000-29999", peers)
			}
			if want := fmt.Sprintf("Connection from %s on illegal port %d", plan.Node, peers[0].Port()); !strings.Contains(d.syslog(), want) {
				t.Errorf("rlogind did not log %q but:\n%s", want, d.syslog())
			}
		}
	})
}

// TestRsh runs a command with a real rsh at a real rshd. rshd opens a second connection to
// the client for the command's standard error. No helper knows the protocol; portmap
// publishes the port.
func TestRsh(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	d := w.trusting()
	// The client uses the first two privileged ports that are free in its namespace.
	callback := map[string]any{"portMappings": []keys{{"hostPort": 1022, "containerPort": 1022, "protocol": "tcp"}}}
	for _, network := range []struct {
		name    string
		plugins []keys
		served  bool
	}{
		{"portmap", []keys{w.masq(), portmap()}, true},
		{"portmap and a range of ports", []keys{w.masq().With(keys{"toPorts": "20000-29999"}), portmap()}, true},
		{"no portmap", []keys{w.masq()}, false},
	} {
		t.Run(network.name, func(t *testing.T) {
			p := w.in(t).attachWith("a", w.conflist("1.1.0", network.plugins...), callback)
			rshd := d.serve(at(w.V4.Server, 514), "in.rshd")
			c := p.Command(soon(t), "netkit-rsh", "-l", "root", w.V4.Server.String(), "echo to stderr >&2; echo to stdout")
			var stdout, stderr bytes.Buffer
			c.Stdout, c.Stderr = &stdout, &stderr
			err := c.Run()
			peers := rshd.close()
			if len(peers) != 1 || peers[0].Addr() != w.V4.Node || peers[0].Port() >= 1024 {
				t.Errorf("rshd was connected from %v, want a port of %s below 1024", peers, w.V4.Node)
			}
			switch served := err == nil && stdout.String() == "to stdout\n" && stderr.String() == "to stderr\n"; {
			case served != network.served:
				t.Errorf("served is %v: %v, stdout %q, stderr %q\n%s", served, err, stdout.String(), stderr.String(), d.syslog())
			case !served && !regexp.MustCompile(`Connecting to stderr port 1022 on \S+ failed`).MatchString(d.syslog()):
				t.Errorf("rshd logs another reason:\n%s", d.syslog())
			}
		})
	}
}

// rlogin logs in at a server, and sends a word to the login's shell.
func (p *pod) rlogin(t testing.TB, server netip.Addr) (screen string, err error) {
	t.Helper()
	at := newTerminal(t)
	c := p.Command(soon(t), "rsh-redone-rlogin", "-l", "root", server.String())
	assert.NoError(t, at.start(c))
	ended := make(chan struct{})
	go func() {
		err = c.Wait()
		close(ended)
	}()
	if at.shows(ended, "word? ") {
		at.types("masquerade\r")
	}
	<-ended
	at.close()
	if err == nil && !strings.Contains(at.screen(), "heard MASQUERADE") {
		err = errors.New("the shell did not hear the word")
	}
	return at.screen(), err
}

// terminal is a pseudo terminal with a record of what it showed.
type terminal struct {
	t    testing.TB
	keys *os.File // user's side
	line *os.File // programs' side

	mu     sync.Mutex
	shown  bytes.Buffer
	change chan struct{} // closed at the next change of the screen
	ended  chan struct{}
}

func newTerminal(t testing.TB) *terminal {
	t.Helper()
	x := &terminal{t: t, change: make(chan struct{}), ended: make(chan struct{})}
	x.keys, x.line = openTerminal(t)
	setSize(t, x.keys, 80, 24)
	go x.watch()
	t.Cleanup(func() {
		x.close()
		_ = x.keys.Close()
		if t.Failed() {
			t.Logf("%s: %q", x.line.Name(), x.screen())
		}
	})
	return x
}

// openTerminal opens a pseudo terminal and returns the user's side and the programs' side.
func openTerminal(t testing.TB) (keys, line *os.File) {
	t.Helper()
	keys = assert.Must(os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0))(t)
	var number int
	control(t, keys, func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		}
		return err
	})
	return keys, assert.Must(os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0))(t)
}

// setSize changes the size of a terminal in cells and notifies its programs.
func setSize(t testing.TB, keys *os.File, width, height int) {
	t.Helper()
	control(t, keys, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(height), Col: uint16(width)})
	})
}

// control calls f with a file's descriptor. The file stays managed by the runtime, so that
// closing it ends its readers.
func control(t testing.TB, file *os.File, f func(fd int) error) {
	t.Helper()
	raw := assert.Must(file.SyscallConn())(t)
	var failed error
	assert.NoError(t, raw.Control(func(fd uintptr) { failed = f(int(fd)) }))
	assert.NoError(t, failed)
}

// watch reads the screen until no program has the terminal open.
func (x *terminal) watch() {
	defer close(x.ended)
	buf := make([]byte, 4096)
	for {
		n, err := x.keys.Read(buf)
		if err != nil {
			return
		}
		x.mu.Lock()
		x.shown.Write(buf[:n])
		close(x.change)
		x.change = make(chan struct{})
		x.mu.Unlock()
	}
}

// screen returns everything that was shown.
func (x *terminal) screen() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.shown.String()
}

// shows waits until a text is shown, or ended is closed.
func (x *terminal) shows(ended <-chan struct{}, text string) bool {
	for {
		x.mu.Lock()
		shown, change := x.shown.String(), x.change
		x.mu.Unlock()
		if strings.Contains(shown, text) {
			return true
		}
		select {
		case <-change:
		case <-ended:
			return strings.Contains(x.screen(), text)
		}
	}
}

// close returns when the output of the programs, which have ended, is complete.
func (x *terminal) close() {
	_ = x.line.Close()
	select {
	case <-x.ended:
	case <-time.After(5 * time.Second): // another process has it open
		x.t.Errorf("%s is still in use", x.line.Name())
	}
}

func (x *terminal) types(text string) {
	x.t.Helper()
	assert.Must(x.keys.WriteString(text))(x.t)
}

// start starts a program at the terminal.
func (x *terminal) start(c *nstest.Command) error {
	c.Env = append(os.Environ(), "TERM=vt100")
	c.Stdin, c.Stdout, c.Stderr = x.line, x.line, x.line
	return c.Start()
}

// machine is a namespace whose programs have private files: /etc and the directories that
// they write to are not the host's.
type machine struct {
	*nstest.NS
	t   testing.TB
	dir string // directory of its files

	mu   sync.Mutex
	said bytes.Buffer // syslog messages, and how the programs ended
}

// machine gives the programs of a namespace files, named as "etc/hosts", "root/x" or
// "run/x". Other files of /etc are the host's.
func (w *world) machine(n *nstest.NS, files map[string]string) *machine {
	w.t.Helper()
	m := &machine{NS: n, t: w.t, dir: w.t.TempDir()}
	for _, name := range []string{"etc", "root", "run", "log", "dev", "pts"} {
		assert.NoError(w.t, os.Mkdir(filepath.Join(m.dir, name), 0o755))
	}
	for name, text := range files {
		path := filepath.Join(m.dir, name)
		assert.NoError(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
		assert.NoError(w.t, os.WriteFile(path, []byte(text), 0o644))
	}
	m.listenSyslog()
	return m
}

// ownFiles starts a program in a mount namespace with the files of a machine.
const ownFiles = `set -e
cd "$0" # options of mount cannot name every directory
mount --bind run /run
mount --bind log /var/log
mount --bind root /root
mount -t overlay -o ro,lowerdir=etc:/etc overlay /etc
mount --rbind /dev/pts pts
mount -t overlay -o ro,lowerdir=dev:/dev overlay /dev
mount --move pts /dev/pts
cd /
exec "$@"`

// command returns a program of the machine.
func (m *machine) command(ctx context.Context, name string, args ...string) *nstest.Command {
	return m.Command(ctx, "unshare", append([]string{"--mount", "sh", "-c", ownFiles, m.dir, name}, args...)...)
}

// listenSyslog records syslog messages of the daemons.
func (m *machine) listenSyslog() {
	path := filepath.Join(m.dir, "syslog")
	assert.NoError(m.t, os.Symlink(path, filepath.Join(m.dir, "dev/log")))
	l := assert.Must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}))(m.t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := l.Read(buf)
			if err != nil {
				return // closed
			}
			m.note(string(bytes.TrimSpace(buf[:n])))
		}
	}()
	m.t.Cleanup(func() {
		_ = l.Close()
		<-done
		if m.t.Failed() {
			m.t.Logf("%s:\n%s", m.Name(), m.syslog())
		}
	})
}

func (m *machine) note(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintln(&m.said, line)
}

func (m *machine) syslog() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.said.String()
}

// inetd runs a daemon for each connection to a port, as inetd(8) does.
type inetd struct {
	stop  func()
	wg    sync.WaitGroup
	peers []netip.AddrPort
}

// inetd starts a daemon for each connection.
func (m *machine) inetd(addr netip.AddrPort, daemon string, args ...string) *inetd {
	m.t.Helper()
	l := assert.Must(m.Listen(addr))(m.t)
	ctx, cancel := context.WithCancel(context.Background())
	i := &inetd{stop: func() { _ = l.Close(); cancel() }}
	m.t.Cleanup(func() { i.close() })
	i.wg.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return // closed
			}
			i.peers = append(i.peers, c.RemoteAddr().(*net.TCPAddr).AddrPort())
			i.wg.Go(func() { m.run(ctx, c, daemon, args...) })
		}
	})
	return i
}

// inetdUDP has a daemon serve an IPv4 UDP port of all addresses until the test ends.
func (m *machine) inetdUDP(port int, daemon string, args ...string) {
	m.t.Helper()
	var conn *net.UDPConn
	assert.NoError(m.t, m.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: port})
		return err
	}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.run(ctx, conn, daemon, args...)
	}()
	m.t.Cleanup(func() { cancel(); <-done })
}

// run has a daemon serve a socket.
func (m *machine) run(ctx context.Context, socket interface {
	File() (*os.File, error)
	Close() error
}, daemon string, args ...string,
) {
	f, err := socket.File()
	if err := errors.Join(err, socket.Close()); err != nil {
		m.note(err.Error())
		return
	}
	c := m.command(ctx, daemon, args...)
	var diag bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = f, f, &diag
	err = c.Start()
	_ = f.Close() // the daemon has a duplicate
	if err == nil {
		err = c.Wait()
	}
	if err != nil && ctx.Err() == nil || diag.Len() > 0 {
		m.note(fmt.Sprintf("%s: %v: %s", daemon, err, diag.String()))
	}
}

// close ends the daemons and returns the addresses of their clients.
func (i *inetd) close() []netip.AddrPort {
	i.stop()
	i.wg.Wait()
	return i.peers
}

// trusting is the server with the daemons of rsh-redone-server, which let root of the node
// in.
type trusting struct {
	*machine
	sbin string
}

func (w *world) trusting() trusting {
	w.t.Helper()
	const trust = "auth required pam_rhosts.so\naccount required pam_permit.so\nsession required pam_permit.so\n"
	var hosts, rhosts strings.Builder
	for _, plan := range w.Plans() {
		fmt.Fprintf(&hosts, "%s %[1]s\n", plan.Node)
		fmt.Fprintf(&rhosts, "%s root\n", plan.Node)
	}
	m := w.machine(w.Server, map[string]string{
		"etc/pam.d/rlogin": trust, "etc/pam.d/rsh": trust, "etc/pam.d/login": trust,
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
		"etc/hosts":         hosts.String(),
		"etc/passwd":        "root:x:0:0:root:/root:/root/shell\n",
		"root/.rhosts":      rhosts.String(),
		"root/shell": "#!/bin/sh\n[ \"$1\" = -c ] && exec /bin/sh \"$@\"\n" +
			"printf 'word? '\nread word\necho \"heard $(echo $word | tr a-z A-Z)\"\n",
	})
	assert.NoError(w.t, os.Chmod(filepath.Join(m.dir, "root/shell"), 0o755))
	return trusting{m, filepath.Dir(program(w.t, "/usr/sbin/in.rshd", "rsh-redone-server"))}
}

// serve runs a daemon for every connection.
func (s trusting) serve(addr netip.AddrPort, daemon string) *inetd {
	s.t.Helper()
	return s.inetd(addr, filepath.Join(s.sbin, daemon))
}
