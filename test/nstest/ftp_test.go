package nstest

import (
	"errors"
	"net/netip"
	"net/textproto"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

func TestFTPModes(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{}))(t)
	for _, p := range topo.Plans() {
		srv := assert.Must(topo.Server.ServeFTP(at(p.Server, 21)))(t)
		c := assert.Must(topo.Server.Capture("eth0", func(p Packet) bool { return p.TCPFlags == SYN && p.SrcPort == 20 }))(t)
		modes := []FTPMode{PORT, EPRT, PASV, EPSV}
		if p.Node.Is6() {
			modes = []FTPMode{EPRT, EPSV}
		}
		for _, mode := range modes {
			before := len(c.Packets())
			got, err := topo.Node.FTPFetch(within(t), srv.Addr(), mode, 50_000)
			if err != nil || got.Bytes != 50_000 {
				t.Errorf("%s: %+v, %v", mode, got, err)
			}
			if _, ok := srv.Command(string(mode)); !ok {
				t.Errorf("%s not among %v", mode, srv.Commands())
			}
			if fromPort20 := len(c.Packets()) - before; (fromPort20 == 1) != mode.Active() {
				t.Errorf("%s: %d connections by the server", mode, fromPort20)
			}
		}
	}
}

// TestFTPRefusesOthersAddress: without a helper, a client behind a NAT announces its own
// address, which the server refuses.
func TestFTPRefusesOthersAddress(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{}))(t)
	srv := assert.Must(topo.Server.ServeFTP(at(topo.V4.Server, 21)))(t)
	conn := assert.Must(topo.Node.Dial(within(t), "tcp", netip.AddrPort{}, srv.Addr()))(t)
	c := textproto.NewConn(conn)
	defer shut(c)
	assert.Must(c.ReadLine())(t)
	for _, x := range []struct{ command, answer string }{
		{"PORT 10,88,0,2,200,10", "500 Illegal PORT command."},
		{"EPRT |1|10.88.0.2|51210|", "500 Illegal EPRT command."},
		{"PORT 192,0,2,2,0,22", "500 Illegal PORT command."},
		{"PORT x", "500 Illegal PORT command."},
		{"RETR 5", "425 Failed to establish connection: use PORT or PASV first"},
		{"RETR x", "550 The name of a file is its size."},
		{"STOR x", "502 Command not implemented."},
	} {
		assert.NoError(t, c.PrintfLine("%s", x.command))
		if got := assert.Must(c.ReadLine())(t); got != x.answer {
			t.Errorf("%s: %s", x.command, got)
		}
	}
	if got, _ := srv.Command("PORT"); !strings.Contains(got.Line, "10,88,0,2") || got.Source.Addr() != topo.V4.Node {
		t.Errorf("server read %v", got)
	}
}

func TestFTPErrorHasTheServersWords(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{}))(t)
	srv := assert.Must(topo.Server.ServeFTP(at(topo.V6.Server, 21)))(t)
	_, err := topo.Node.FTPFetch(within(t), srv.Addr(), PASV, 1)
	var said *textproto.Error
	if !errors.As(err, &said) || said.Code != 425 {
		t.Errorf("PASV over IPv6: %v", err)
	}
}

func FuzzFTPAddress(f *testing.F) {
	f.Add("192,0,2,2,200,10")
	f.Add("|1|192.0.2.2|51210|")
	f.Add("|2|2001:db8::1|21|")
	f.Add("|||21|")
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := parseHostPort(s); err == nil {
			if again, err := parseHostPort(formatHostPort(a)); err != nil || again != a {
				t.Errorf("%q: %v, then %v, %v", s, a, again, err)
			}
		}
		if a, err := parseExtended(s); err == nil && a.Addr().IsValid() {
			if again, err := parseExtended(formatExtended(a)); err != nil || again != a {
				t.Errorf("%q: %v, then %v, %v", s, a, again, err)
			}
		}
	})
}
