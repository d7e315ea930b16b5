package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// firewalld is Debian's firewalld, running in the node with a private configuration, bus
// and /run.
type firewalld struct {
	w    *world
	root string // directory with its unpacked packages
	env  []string
}

const firewalldBus = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
<type>system</type>
<listen>unix:path=%s</listen>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
`

// firewalld starts firewalld with a backend, and returns when it answers.
func (w *world) firewalld(backend string) *firewalld {
	w.t.Helper()
	dir := w.t.TempDir()
	bus, conf, etc := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf"), filepath.Join(dir, "etc")
	f := &firewalld{w: w, root: unpacked(w.t, "firewalld", "python3-firewall", "python3-nftables")}
	f.env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS=unix:path="+bus,
		"PYTHONPATH="+filepath.Join(f.root, "usr/lib/python3/dist-packages"), "PYTHONDONTWRITEBYTECODE=1")
	assert.NoError(w.t, os.CopyFS(etc, os.DirFS(filepath.Join(f.root, "etc/firewalld"))))
	main := filepath.Join(etc, "firewalld.conf")
	text := string(assert.Must(os.ReadFile(main))(w.t))
	for _, usual := range []string{"FirewallBackend=nftables\n", "FlushAllOnReload=yes\n"} {
		if !strings.Contains(text, "\n"+usual) {
			w.t.Fatalf("Debian's firewalld.conf has no %s", usual)
		}
	}
	text = strings.Replace(text, "FirewallBackend=nftables", "FirewallBackend="+backend, 1)
	assert.NoError(w.t, os.WriteFile(main, []byte(text), 0o600))

	assert.NoError(w.t, os.WriteFile(conf, fmt.Appendf(nil, firewalldBus, bus), 0o600))
	w.background(w.Node.Command(context.Background(), "dbus-daemon", "--config-file="+conf, "--nofork", "--nopidfile"))
	until(w.t, "the bus exists", func() bool { _, err := os.Stat(bus); return err == nil })
	c := w.Node.Command(context.Background(), "unshare", "--mount", "sh", "-c", `mount -t tmpfs tmpfs /run && exec "$0" "$@"`,
		debianPython, filepath.Join(f.root, "usr/sbin/firewalld"), "--nofork", "--nopid", "--log-target", "console",
		"--system-config", etc, "--default-config", filepath.Join(f.root, "usr/lib/firewalld"))
	c.Env = f.env
	w.background(c)
	until(w.t, "firewalld runs", func() bool { return f.try("--state") == nil })
	return f
}

// debianPython is the version that Debian's modules are built for.
const debianPython = "/usr/bin/python3"

// try runs firewall-cmd.
func (f *firewalld) try(args ...string) error {
	c := f.w.Node.Command(f.w.t.Context(), debianPython, append([]string{filepath.Join(f.root, "usr/bin/firewall-cmd")}, args...)...)
	c.Env = f.env
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("firewall-cmd %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (f *firewalld) cmd(args ...string) {
	f.w.t.Helper()
	assert.NoError(f.w.t, f.try(args...))
}

// TestFirewalld has firewalld reload repeatedly while a container exchanges packets with
// the server. Masquerading continues: open flows lose nothing, new flows begin, and no
// packet arrives with the container's address. With its iptables backend, firewalld itself
// drops all forwarded packets while it reloads.
func TestFirewalld(t *testing.T) {
	for _, backend := range []struct {
		name          string
		drops         bool // whether it drops packets of open flows while it reloads
		alone, beside int  // number of reloads without and with masqd
	}{{"nftables", false, 5, 20}, {"iptables", true, 3, 3}} {
		t.Run(backend.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			a := w.attach("a", w.conflist("1.0.0", w.masq()))
			f := w.firewalld(backend.name)
			// The control: firewalld rejects traffic that is not allowed.
			for _, plan := range w.Plans() {
				if r, err := a.Ping(soon(t), plan.Server, nstest.PingOptions{}); err != nil || r.Reply() {
					t.Errorf("firewalld should have refused a ping to %s: %+v, %v", plan.Server, r, err)
				}
			}
			f.cmd("--permanent", "--zone=trusted", "--add-source=10.88.0.0/16", "--add-source=fd00:88::/64")
			f.cmd("--reload")
			reload := func(times int) func() {
				return func() {
					for range times {
						f.cmd("--reload")
					}
				}
			}
			alone := w.talkDuring(t, a, reload(backend.alone))
			t.Logf("%d reloads without masqd: %s", backend.alone, alone)
			d := w.daemon()
			beside := w.talkDuring(t, a, reload(backend.beside))
			t.Logf("%d reloads with masqd: %s", backend.beside, beside)
			if log := string(assert.Must(os.ReadFile(d.log))(t)); strings.Contains(log, "repaired") {
				t.Errorf("firewalld changed objects of other programs:\n%s", log)
			}
			d.end()
			for _, got := range []talked{alone, beside} {
				if got.foreign > 0 || got.arrived == 0 {
					t.Errorf("of %d packets that arrived %d were not the node's", got.arrived, got.foreign)
				}
				if got.tcp.lost() > 0 || got.fresh.lost() > 0 {
					t.Errorf("TCP: %s; new connections: %s", got.tcp, got.fresh)
				}
			}
			switch {
			case backend.drops:
				if alone.udp.lost() == 0 || alone.icmp.lost() == 0 {
					t.Errorf("firewalld alone must lose packets while it reloads: %s", alone)
				}
			// The kernel applies a chain's policy before its rules exist, so firewalld may lose a
			// packet when it creates chains that drop new connections.
			case beside.udp.lost() > backend.beside || beside.icmp.lost() > backend.beside:
				t.Errorf("UDP: %s; ICMP: %s", beside.udp, beside.icmp)
			}
			// The control: packets that firewalld blocks are counted as lost.
			panicked := w.talkDuring(t, a, func() {
				f.cmd("--panic-on")
				f.cmd("--panic-off")
			})
			if panicked.udp.lost() == 0 || panicked.icmp.lost() == 0 {
				t.Errorf("no loss is reported while firewalld blocks everything: %s", panicked)
			}

			// The control: without the table the server sees the container's address.
			w.nft("delete table inet masq")
			for _, plan := range w.Plans() {
				w.seenAs(a, plan, a.addr(plan.Server))
			}
		})
	}
}

// talked is the result of talkDuring: for flows that were open before the first reload,
// and for connections that began during the reloads.
type talked struct {
	udp, icmp, tcp, fresh exchange
	stall                 time.Duration // longest wait for an answer over TCP
	arrived, foreign      int64         // packets at the server, and how many came from another address than the node's
	took                  time.Duration
}

// exchange counts messages sent and messages echoed.
type exchange struct{ sent, back int }

func (e exchange) lost() int { return e.sent - e.back }

func (e *exchange) add(o exchange) { e.sent, e.back = e.sent+o.sent, e.back+o.back }

func (e exchange) String() string { return fmt.Sprintf("%d of %d lost", e.lost(), e.sent) }

func (r talked) String() string {
	return fmt.Sprintf("in %s UDP %s, ICMP %s, TCP %s and at most %s late, new connections %s; %d packets arrived, %d not from the node",
		r.took.Round(time.Millisecond), r.udp, r.icmp, r.tcp, r.stall.Round(time.Millisecond), r.fresh, r.arrived, r.foreign)
}

// talkDuring sends a message every talkPace. At the end, messages that are not
// retransmitted have talkGrace to arrive.
const talkPace, talkGrace = 5 * time.Millisecond, time.Second

// talkDuring has a container exchange packets of all kinds with the server while f runs.
func (w *world) talkDuring(t *testing.T, p *pod, f func()) (out talked) {
	t.Helper()
	var arrived, foreign atomic.Int64
	wire := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool {
		if !q.Outgoing && !neighbours(q) {
			arrived.Add(1)
			if q.Src != w.V4.Node && q.Src != w.V6.Node {
				foreign.Add(1)
			}
		}
		return false
	}))(t)
	defer wire.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	run := func(sum *exchange, f func() (exchange, error)) {
		wg.Go(func() {
			got, err := f()
			mu.Lock()
			defer mu.Unlock()
			sum.add(got)
			errs = append(errs, err)
		})
	}
	for _, plan := range w.Plans() {
		tcp, udp := w.servers(plan.Server)
		datagrams := assert.Must(p.Dial(soon(t), "udp", netip.AddrPort{}, udp))(t)
		defer datagrams.Close()
		say(t, datagrams, "hello")
		stream := assert.Must(p.Dial(soon(t), "tcp", netip.AddrPort{}, tcp))(t)
		defer stream.Close()
		assert.Must(io.WriteString(stream, "ECHO\n"))(t)
		say(t, stream, "hello")
		replies := assert.Must(p.Capture("eth0", func(q nstest.Packet) bool { return q.Src == plan.Server && isReply(q) }))(t)
		defer replies.Close()
		ping := func(seq int) error {
			return p.SendRaw(nstest.EchoPacket(p.addr(plan.Server), plan.Server, 1, uint16(seq), nil))
		}
		assert.NoError(t, ping(0))
		assert.Must(replies.WaitFor(soon(t), isReply))(t)

		run(&out.udp, func() (exchange, error) {
			got, _, err := echoed(ctx, datagrams)
			return got, err
		})
		run(&out.tcp, func() (exchange, error) {
			got, stall, err := echoed(ctx, stream)
			mu.Lock()
			defer mu.Unlock()
			out.stall = max(out.stall, stall)
			return got, err
		})
		run(&out.icmp, func() (exchange, error) {
			sent, err := paced(ctx, ping)
			late, over := context.WithTimeout(context.WithoutCancel(ctx), talkGrace)
			defer over()
			all, _ := replies.Wait(late, func(all []nstest.Packet) bool { return len(all) > sent })
			return exchange{sent, len(all) - 1}, err
		})
		run(&out.fresh, func() (exchange, error) {
			back := 0
			sent, err := paced(ctx, func(int) error {
				one, over := context.WithTimeout(context.WithoutCancel(ctx), patience)
				defer over()
				seen, err := p.Who(one, netip.AddrPort{}, tcp)
				if err == nil && seen.Addr() != plan.Node {
					err = fmt.Errorf("a new connection arrives from %s", seen)
				}
				if err == nil {
					back++
				}
				return err
			})
			return exchange{sent, back}, err
		})
	}
	begun := time.Now()
	f()
	out.took = time.Since(begun)
	cancel()
	wg.Wait()
	assert.NoError(t, errors.Join(errs...))
	wire.Packets() // read the remaining packets
	out.arrived, out.foreign = arrived.Load(), foreign.Load()
	return out
}

// isReply reports whether q is an echo reply.
func isReply(q nstest.Packet) bool {
	return q.Proto == unix.IPPROTO_ICMP && q.ICMPType == 0 || q.Proto == unix.IPPROTO_ICMPV6 && q.ICMPType == 129
}

// paced calls f with 1, 2 and so on until the context ends, and returns the number of calls.
func paced(ctx context.Context, f func(n int) error) (n int, err error) {
	tick := time.NewTicker(talkPace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return n, nil
		case <-tick.C:
		}
		n++
		if err := f(n); err != nil {
			return n, err
		}
	}
}

// echoed sends messages until the context ends, and returns how many were echoed, and the
// longest time without an echo.
func echoed(ctx context.Context, c net.Conn) (got exchange, stall time.Duration, err error) {
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return got, 0, err
	}
	sent := make(chan error, 1)
	go func() {
		var err error
		got.sent, err = paced(ctx, func(n int) error {
			_, err := c.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
			return err
		})
		late := talkGrace
		if stream, ok := c.(*net.TCPConn); ok { // TCP retransmits, and its close shows that everything arrived
			late = patience
			err = errors.Join(err, stream.CloseWrite())
		}
		sent <- errors.Join(err, c.SetReadDeadline(time.Now().Add(late)))
	}()
	b := make([]byte, 8)
	for last := time.Now(); ; last = time.Now() {
		if _, err := io.ReadFull(c, b); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) {
				err = nil
			}
			err = errors.Join(err, <-sent)
			return got, stall, err
		}
		got.back++
		stall = max(stall, time.Since(last))
	}
}
