package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/test/nstest"
)

var tale = []struct {
	name, title string
	tell        func(context.Context, *lab, *Step) error
}{
	{"ping", "A container behind the address of its node", ping},
	{"freeze", "The download that freezes", freeze},
	{"clamp", "The same download with the MSS clamped", clamp},
	{"ftp-refused", "FTP in active mode, without the helper", ftpRefused},
	{"ftp", "FTP in active mode, with the helper", ftp},
	{"fragments", "UDP in fragments", fragments},
	{"privileged", "A privileged source port", privileged},
	{"ruleset", "The rules that did it", rules},
}

const (
	fileSize = 300_000 // bytes
	// patience is how long something that cannot work is watched.
	patience = 2 * time.Second
	// enough is how long something that works may take.
	enough = 10 * time.Second
)

func (l *lab) note(r types.Result) error {
	result, err := types100.NewResultFromResult(r)
	if err != nil {
		return err
	}
	for _, ip := range result.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP.To4()); ok {
			l.addr = a
			return nil
		}
	}
	return errors.New("ADD gave no address")
}

func ping(ctx context.Context, l *lab, s *Step) error {
	seen := func(masquerade bool) (from netip.Addr, answered bool, err error) {
		if err := l.attach(ctx, map[string]any{"ipMasq": masquerade}); err != nil {
			return from, false, err
		}
		c, err := l.Server.Capture("eth0", func(p nstest.Packet) bool {
			return !p.Outgoing && p.Proto == unix.IPPROTO_ICMP
		})
		if err != nil {
			return from, false, err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		wait := enough
		if !masquerade {
			wait = patience / 2
		}
		pctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		r, pingErr := l.pod.Ping(pctx, l.V4.Server, nstest.PingOptions{})
		wctx, cancel := context.WithTimeout(ctx, enough)
		defer cancel()
		p, err := c.WaitFor(wctx, func(nstest.Packet) bool { return true })
		if err != nil {
			return from, false, fmt.Errorf("the server saw no echo request: %w", err)
		}
		return p.Src, pingErr == nil && r.Reply(), nil
	}
	from, answered, err := seen(false)
	if err != nil {
		return err
	}
	s.say("Without masquerading, the server at %s sees the ping come from %s. It knows no way back to such an address: no answer.", l.V4.Server, from)
	s.expect(from == l.addr && !answered, "without masquerading the server saw %s, answered %t", from, answered)
	s.figure("sourceWithout", from)
	from, answered, err = seen(true)
	if err != nil {
		return err
	}
	s.say("With it, the same ping comes from %s, the node's own address, and is answered.", from)
	s.expect(from == l.V4.Node && answered, "with masquerading the server saw %s, answered %t", from, answered)
	s.figure("sourceWith", from)
	return nil
}

// download fetches the file in the container, and reports the MSS that the server
// was told.
func (l *lab) download(ctx context.Context, wait time.Duration) (t nstest.Transfer, mss uint16, err error) {
	server, err := l.Server.ServeTCP(netip.AddrPortFrom(l.V4.Server, 80))
	if err != nil {
		return t, 0, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	c, err := l.Server.Capture("eth0", func(p nstest.Packet) bool {
		return !p.Outgoing && p.TCPFlags&nstest.SYN != 0
	})
	if err != nil {
		return t, 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	dctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	t, err = l.pod.Download(dctx, server.Addr(), fileSize)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = nil // what has arrived by then says it
	}
	if err != nil {
		return t, 0, err
	}
	syn, err := c.WaitFor(ctx, func(nstest.Packet) bool { return true })
	return t, syn.MSS, err
}

func freeze(ctx context.Context, l *lab, s *Step) error {
	if err := l.attach(ctx, nil); err != nil {
		return err
	}
	t, mss, err := l.download(ctx, patience)
	if err != nil {
		return err
	}
	dropped, err := l.Router.PMTUDropped()
	if err != nil {
		return err
	}
	s.say("The container's link takes 1500 bytes, so it tells the server to send segments of %d. The link between node and router takes %d.", mss, narrow)
	s.say("The router cannot pass on what the server sends, and its word for that (ICMP \"fragmentation needed\") is dropped: %d times.", dropped)
	s.say("After %s, %d of %d bytes have arrived. The connection is up, and nothing comes.", patience, t.Bytes, fileSize)
	s.figure("mss", mss)
	s.figure("bytes", t.Bytes)
	s.figure("fragmentationNeededDropped", dropped)
	s.expect(mss == 1460 && t.Bytes == 0 && dropped > 0, "MSS %d, %d bytes, %d ICMP messages dropped", mss, t.Bytes, dropped)
	return nil
}

func clamp(ctx context.Context, l *lab, s *Step) error {
	if err := l.attach(ctx, map[string]any{"mssClamp": "pmtu"}); err != nil {
		return err
	}
	t, mss, err := l.download(ctx, enough)
	if err != nil {
		return err
	}
	s.say("With \"mssClamp\": \"pmtu\", the node lowers the number on its way out: the server is told %d, which is %d less the 40 bytes of IP and TCP headers.", mss, narrow)
	s.say("All %d bytes arrive, in %s.", t.Bytes, t.Duration.Round(time.Millisecond))
	s.figure("mss", mss)
	s.figure("bytes", t.Bytes)
	s.figure("transferSeconds", t.Duration.Seconds())
	s.expect(mss == narrow-40 && t.Bytes == fileSize, "MSS %d, %d bytes", mss, t.Bytes)
	return nil
}

func (l *lab) fetch(ctx context.Context) (server *nstest.FTPServer, t nstest.Transfer, err error) {
	server, err = l.Server.ServeFTP(netip.AddrPortFrom(l.V4.Server, 21))
	if err != nil {
		return nil, t, err
	}
	fctx, cancel := context.WithTimeout(ctx, enough)
	defer cancel()
	t, err = l.pod.FTPFetch(fctx, server.Addr(), nstest.PORT, fileSize)
	return server, t, err
}

func ftpRefused(ctx context.Context, l *lab, s *Step) error {
	if err := l.attach(ctx, map[string]any{"mssClamp": "pmtu"}); err != nil {
		return err
	}
	server, _, err := l.fetch(ctx)
	if server == nil {
		return err
	}
	defer func() { _ = server.Close() }()
	var refused *textproto.Error
	if !errors.As(err, &refused) {
		s.expect(false, "the server did not refuse: %v", err)
		return nil
	}
	port, _ := server.Command("PORT")
	s.say("In active mode the client tells the server, inside the conversation, where to connect to. The container says %q.", port.Line)
	answer := fmt.Sprintf("%d %s", refused.Code, refused.Msg)
	s.say("That is its own address, while the server sees %s. It answers %q.", port.Source.Addr(), answer)
	s.figure("command", port.Line)
	s.figure("answer", answer)
	s.expect(refused.Code == 500 && strings.Contains(port.Line, commas(l.addr)), "%q, answered %q", port.Line, answer)
	return nil
}

func commas(a netip.Addr) string { return strings.ReplaceAll(a.String(), ".", ",") }

func ftp(ctx context.Context, l *lab, s *Step) error {
	if err := l.attach(ctx, map[string]any{"mssClamp": "pmtu", "helpers": map[string]any{"ftp": []int{21}}}); err != nil {
		return err
	}
	server, t, err := l.fetch(ctx)
	if server == nil {
		return err
	}
	defer func() { _ = server.Close() }()
	if err != nil {
		return err
	}
	port, _ := server.Command("PORT")
	s.say("With \"helpers\": {\"ftp\": [21]} the kernel reads along and puts the node's address in: the server reads %q.", port.Line)
	s.say("It connects to the node, the kernel expects that connection and hands it to the container: %d bytes in %s.", t.Bytes, t.Duration.Round(time.Millisecond))
	s.figure("command", port.Line)
	s.figure("bytes", t.Bytes)
	s.expect(strings.Contains(port.Line, commas(l.V4.Node)) && t.Bytes == fileSize, "%q, %d bytes", port.Line, t.Bytes)
	return nil
}

func fragments(ctx context.Context, l *lab, s *Step) error {
	const size = 3000
	server, err := l.Server.ServeUDP(netip.AddrPortFrom(l.V4.Server, 7))
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	c, err := l.Server.Capture("eth0", func(p nstest.Packet) bool {
		return !p.Outgoing && p.Proto == unix.IPPROTO_UDP
	})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	ectx, cancel := context.WithTimeout(ctx, enough)
	defer cancel()
	if err := l.pod.EchoUDP(ectx, netip.AddrPort{}, server.Addr(), size); err != nil {
		return err
	}
	packets := c.Packets()
	sources := map[netip.Addr]bool{}
	ports := 0
	for _, p := range packets {
		sources[p.Src] = true
		if p.DstPort != 0 {
			ports++
		}
	}
	s.say("A datagram of %d bytes reaches the server in %d fragments; only the first carries a port. All come from %s, and the answer of %d bytes comes back.", size, len(packets), packets[0].Src, size)
	s.figure("fragments", len(packets))
	s.figure("withPort", ports)
	s.expect(len(packets) > size/narrow && ports == 1 && len(sources) == 1 && sources[l.V4.Node], "%d fragments, %d with a port, from %v", len(packets), ports, sources)
	return nil
}

func privileged(ctx context.Context, l *lab, s *Step) error {
	if err := l.attach(ctx, map[string]any{"mssClamp": "pmtu", "toPorts": "20000-29999", "helpers": map[string]any{"ftp": []int{21}}}); err != nil {
		return err
	}
	server, err := l.Server.ServeTCP(netip.AddrPortFrom(l.V4.Server, 514))
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	wctx, cancel := context.WithTimeout(ctx, enough)
	defer cancel()
	low, err := l.pod.Who(wctx, netip.AddrPortFrom(l.addr, 1000), server.Addr())
	if err != nil {
		return err
	}
	high, err := l.pod.Who(wctx, netip.AddrPort{}, server.Addr())
	if err != nil {
		return err
	}
	s.say("rsh and NFS trust a client by its source port, which has to be below 1024.")
	s.say("With \"toPorts\": \"20000-29999\", a connection from port 1000 reaches the server from port %d, any other from the range: %d.", low.Port(), high.Port())
	s.figure("privileged", low)
	s.figure("other", high)
	inRange := high.Port() >= 20000 && high.Port() <= 29999
	s.expect(low.Addr() == l.V4.Node && low.Port() < 1024 && high.Addr() == l.V4.Node && inRange, "seen from %s and %s", low, high)
	return nil
}

// rules reads the kernel and compares it, rule by rule, with what the records ask
// for: what is shown is what is there.
func rules(_ context.Context, l *lab, s *Step) error {
	return l.Node.Do(func() error {
		records, err := store.Open(l.dir + "/state")
		if err != nil {
			return err
		}
		all, err := records.All()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(r store.Record) bool { return r.ContainerID == l.runtime.ContainerID })
		if i < 0 {
			return errors.New("the container has no record")
		}
		want := ruleset.For(attachments(all), ruleset.Sources{}, ruleset.Egress{})
		conn, err := nft.Open()
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		changes, err := conn.Drift(want, ruleset.Table{})
		if err != nil {
			return err
		}
		l.ruleset = want.String()
		rules := 0
		for _, c := range want.Chains {
			rules += len(c.Rules)
		}
		s.say("One table of %d rules, whose number does not grow with the number of containers. Each carries its name as a comment.", rules)
		s.figure("rules", rules)
		s.figure("drift", len(changes))
		s.expect(len(changes) == 0, "the kernel has other rules: %v", changes)
		return nil
	})
}
