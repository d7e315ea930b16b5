package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/textproto"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// fetch downloads the file with active FTP.
func (l *lab) fetch(ctx context.Context) (server *nstest.FTPServer, t nstest.Transfer, err error) {
	server, err = l.Server.ServeFTP(netip.AddrPortFrom(l.V4.Server, 21))
	if err != nil {
		return nil, t, err
	}
	fctx, cancel := context.WithTimeout(ctx, successTimeout)
	defer cancel()
	t, err = l.pod.FTPFetch(fctx, server.Addr(), nstest.PORT, fileSize)
	return server, t, err
}

// ftpRefused uses active FTP without the conntrack helper.
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
	s.say("In active mode the client tells the server which address to connect to. The container sends %q.", port.Line)
	answer := fmt.Sprintf("%d %s", refused.Code, refused.Msg)
	s.say("That is its own address, but the server received the connection from %s. It answers %q.", port.Source.Addr(), answer)
	s.figure("command", port.Line)
	s.figure("answer", answer)
	s.expect(refused.Code == 500 && strings.Contains(port.Line, commas(l.addr)), "%q, answered %q", port.Line, answer)
	return nil
}

// commas returns an IPv4 address in the form of the FTP command PORT.
func commas(a netip.Addr) string { return strings.ReplaceAll(a.String(), ".", ",") }

// ftp uses active FTP with the conntrack helper.
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
	s.say("With \"helpers\": {\"ftp\": [21]} the kernel replaces the address by the node's: the server receives %q.", port.Line)
	s.say("The server connects to the node. The kernel expects that connection, and forwards it to the container: %d bytes in %s.", t.Bytes, t.Duration.Round(time.Millisecond))
	s.figure("command", port.Line)
	s.figure("bytes", t.Bytes)
	s.expect(strings.Contains(port.Line, commas(l.V4.Node)) && t.Bytes == fileSize, "%q, %d bytes", port.Line, t.Bytes)
	return nil
}
