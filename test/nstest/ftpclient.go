package nstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
)

// FTPFetch retrieves a file of size bytes from an FTPServer. If the server refuses, the error
// is a *textproto.Error with the server's answer.
func (n *NS) FTPFetch(ctx context.Context, server netip.AddrPort, mode FTPMode, size int64) (Transfer, error) {
	return n.transfer(ctx, server, func(c net.Conn) (int64, error) {
		f := &ftpClient{Conn: textproto.NewConn(c), ns: n, ctx: ctx, local: addrPort(c.LocalAddr()), server: server}
		return f.fetch(mode, size)
	})
}

// ftpClient is one session of a client. It lives within one call.
type ftpClient struct {
	*textproto.Conn
	ns            *NS
	ctx           context.Context //nolint:containedctx // the context of the call that it serves
	local, server netip.AddrPort
}

func (f *ftpClient) fetch(mode FTPMode, size int64) (int64, error) {
	if _, _, err := f.ReadResponse(220); err != nil {
		return 0, err
	}
	for _, s := range []struct {
		code    int
		command string
	}{{331, "USER anonymous"}, {230, "PASS masq"}, {200, "TYPE I"}} {
		if _, err := f.ask(s.code, "%s", s.command); err != nil {
			return 0, err
		}
	}
	data, err := f.open(mode, size)
	if err != nil {
		return 0, err
	}
	defer shut(data)
	defer bound(f.ctx, data)()
	got, err := io.Copy(io.Discard, data)
	if err != nil {
		return got, err
	}
	if _, _, err := f.ReadResponse(226); err != nil {
		return got, err
	}
	if got != size {
		return got, io.ErrUnexpectedEOF
	}
	_, err = f.ask(221, "QUIT")
	return got, err
}

// open asks for the file and returns its data connection.
func (f *ftpClient) open(mode FTPMode, size int64) (net.Conn, error) {
	if mode.Active() {
		return f.active(mode, size)
	}
	at, err := f.passive(mode)
	if err != nil {
		return nil, err
	}
	c, err := f.ns.Dial(f.ctx, "tcp", netip.AddrPort{}, at)
	if err != nil {
		return nil, err
	}
	if _, err := f.ask(150, "RETR %d", size); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// active listens, announces the address, and accepts the connection of the server.
func (f *ftpClient) active(mode FTPMode, size int64) (net.Conn, error) {
	l, err := f.ns.Listen(netip.AddrPortFrom(f.local.Addr(), 0))
	if err != nil {
		return nil, err
	}
	defer shut(l)
	defer bound(f.ctx, l)()
	arg := formatHostPort(addrPort(l.Addr()))
	if mode == EPRT {
		arg = formatExtended(addrPort(l.Addr()))
	}
	if _, err := f.ask(200, "%s %s", mode, arg); err != nil {
		return nil, err
	}
	if _, err := f.ask(150, "RETR %d", size); err != nil {
		return nil, err
	}
	return l.Accept()
}

// passive requests the address for the data connection from the server.
func (f *ftpClient) passive(mode FTPMode) (netip.AddrPort, error) {
	code, parse := 227, parseHostPort
	if mode == EPSV {
		code, parse = 229, parseExtended
	}
	text, err := f.ask(code, "%s", mode)
	if err != nil {
		return netip.AddrPort{}, err
	}
	_, arg, _ := strings.Cut(text, "(")
	arg, _, _ = strings.Cut(arg, ")")
	at, err := parse(arg)
	if !at.Addr().IsValid() {
		at = netip.AddrPortFrom(f.server.Addr(), at.Port())
	}
	return at, err
}

// ask sends a command and expects an answer with this code.
func (f *ftpClient) ask(code int, format string, args ...any) (string, error) {
	if err := f.PrintfLine(format, args...); err != nil {
		return "", err
	}
	_, text, err := f.ReadResponse(code)
	if err != nil {
		return "", fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
	}
	return text, nil
}
