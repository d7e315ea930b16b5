package nstest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// ftpPatience bounds the server's wait for a data connection.
const ftpPatience = 5 * time.Second

// FTPCommand is one command as the FTPServer received it, after any translation.
type FTPCommand struct {
	Source netip.AddrPort // client of the control connection
	Line   string
}

// FTPServer is a minimal FTP server that shows the effects of NAT on FTP. Like vsftpd, it refuses
// PORT and EPRT with another address than the client's ("500 Illegal PORT command."), connects
// from the port below its own, and accepts passive connections only from the client. The name of
// a file is its size: RETR 300000 sends this number of bytes.
type FTPServer struct {
	ns       *NS
	addr     netip.AddrPort
	commands record[FTPCommand]
	acceptor
}

// ServeFTP starts an FTPServer. It ends with the namespace or by Close.
func (n *NS) ServeFTP(addr netip.AddrPort) (*FTPServer, error) {
	l, err := n.Listen(addr)
	if err != nil {
		return nil, err
	}
	s := &FTPServer{ns: n, addr: addrPort(l.Addr())}
	s.serve(l, s.session)
	return s, n.own(s)
}

// Addr returns the address of the control connection.
func (s *FTPServer) Addr() netip.AddrPort { return s.addr }

// Commands returns the commands so far, in order.
func (s *FTPServer) Commands() []FTPCommand { return s.commands.all() }

// Command returns the first command so far that begins with this verb.
func (s *FTPServer) Command(verb string) (FTPCommand, bool) {
	for _, c := range s.Commands() {
		if strings.HasPrefix(c.Line, verb) {
			return c, true
		}
	}
	return FTPCommand{}, false
}

// ftpSession is one control connection.
type ftpSession struct {
	*textproto.Conn
	ns           *NS
	local, peer  netip.AddrPort
	connectTo    netip.AddrPort   // agreed by PORT or EPRT
	acceptFrom   *net.TCPListener // agreed by PASV or EPSV
	disconnected bool
}

func (s *FTPServer) session(c net.Conn) {
	f := &ftpSession{
		Conn: textproto.NewConn(c), ns: s.ns,
		local: addrPort(c.LocalAddr()), peer: addrPort(c.RemoteAddr()),
	}
	defer f.forget()
	f.reply("220 nstest")
	for !f.disconnected {
		line, err := f.ReadLine()
		if err != nil {
			return
		}
		s.commands.add(FTPCommand{f.peer, line})
		verb, arg, _ := strings.Cut(line, " ")
		f.obey(strings.ToUpper(verb), arg)
	}
}

func (f *ftpSession) obey(verb, arg string) {
	switch verb {
	case "USER":
		f.reply("331 Any password.")
	case "PASS":
		f.reply("230 Login successful.")
	case "TYPE":
		f.reply("200 Binary it is.")
	case "PORT":
		f.active(verb, arg, parseHostPort)
	case "EPRT":
		f.active(verb, arg, parseExtended)
	case "PASV", "EPSV":
		f.passive(verb)
	case "RETR":
		f.retrieve(arg)
	case "QUIT":
		f.reply("221 Goodbye.")
		f.disconnected = true
	default:
		f.reply("502 Command not implemented.")
	}
}

func (f *ftpSession) active(verb, arg string, parse func(string) (netip.AddrPort, error)) {
	f.forget()
	a, err := parse(arg)
	if err != nil || a.Addr() != f.peer.Addr() || a.Port() < 1024 {
		f.reply("500 Illegal %s command.", verb)
		return
	}
	f.connectTo = a
	f.reply("200 %s command successful.", verb)
}

func (f *ftpSession) passive(verb string) {
	f.forget()
	l, err := f.ns.Listen(netip.AddrPortFrom(f.local.Addr(), 0))
	if err != nil {
		f.reply("425 %v", err)
		return
	}
	f.acceptFrom = l
	at := addrPort(l.Addr())
	switch {
	case verb == "EPSV":
		f.reply("229 Entering Extended Passive Mode (|||%d|)", at.Port())
	case at.Addr().Is4():
		f.reply("227 Entering Passive Mode (%s)", formatHostPort(at))
	default:
		f.forget()
		f.reply("425 PASV is for IPv4.")
	}
}

func (f *ftpSession) retrieve(name string) {
	defer f.forget()
	size, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		f.reply("550 The name of a file is its size.")
		return
	}
	data, err := f.data()
	if err != nil {
		f.reply("425 Failed to establish connection: %v", err)
		return
	}
	f.reply("150 Opening BINARY mode data connection for %d bytes.", size)
	_, err = io.CopyN(data, zeros{}, size)
	if closing := data.Close(); err == nil {
		err = closing
	}
	if err != nil {
		f.reply("426 Failure writing network stream: %v", err)
		return
	}
	f.reply("226 Transfer complete.")
}

// data opens the agreed data connection.
func (f *ftpSession) data() (net.Conn, error) {
	switch {
	case f.connectTo.IsValid():
		ctx, cancel := context.WithTimeout(context.Background(), ftpPatience)
		defer cancel()
		// Port L-1 of RFC 959: 20 for a server on port 21.
		from := netip.AddrPortFrom(f.local.Addr(), f.local.Port()-1)
		return f.ns.Dial(ctx, "tcp", from, f.connectTo)
	case f.acceptFrom != nil:
		if err := f.acceptFrom.SetDeadline(time.Now().Add(ftpPatience)); err != nil {
			return nil, err
		}
		c, err := f.acceptFrom.Accept()
		if err != nil {
			return nil, err
		}
		if from := addrPort(c.RemoteAddr()).Addr(); from != f.peer.Addr() {
			_ = c.Close()
			return nil, fmt.Errorf("security: bad IP connecting: %s", from)
		}
		return c, nil
	}
	return nil, fmt.Errorf("use PORT or PASV first")
}

// forget discards the agreement on the next data connection.
func (f *ftpSession) forget() {
	f.connectTo = netip.AddrPort{}
	if f.acceptFrom != nil {
		_ = f.acceptFrom.Close()
		f.acceptFrom = nil
	}
}

func (f *ftpSession) reply(format string, args ...any) {
	if f.PrintfLine(format, args...) != nil {
		f.disconnected = true
	}
}
