package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	rtspPort    = 554
	cameraPort  = 6000 // from which the camera sends
	playerPort  = 5004 // at which the player receives
	streamCount = 100  // datagrams
)

// rtsp receives a stream of a camera, without and with the helper of masqd.
func rtsp(ctx context.Context, l *lab, s *Step) (err error) {
	if err := l.attach(ctx, nil); err != nil {
		return err
	}
	without, err := l.watch(ctx, false)
	if err != nil {
		return err
	}
	s.say("A player asks a camera to send a stream to its UDP ports: it sends %q. Masquerading does not change that, so the camera sends to these ports of the node, which refuses the stream.", without.asked)
	s.figure("askedWithout", without.asked)
	s.figure("refusedWithout", without.refused)
	s.expect(without.asked == clientPorts(playerPort) && without.refused, "without the helper the camera was asked %q; refused: %t", without.asked, without.refused)
	d, err := l.startDaemon(ctx)
	if err != nil {
		return err
	}
	defer func() { err = d.end(err) }()
	if err := l.attachHelped(ctx, "rtsp", unix.IPPROTO_TCP, rtspPort); err != nil {
		return err
	}
	with, err := l.watch(ctx, true)
	if err != nil {
		return err
	}
	s.say("With \"helpers\": {\"rtsp\": [554]}, masqd speaks to the camera for the container, and asks for ports of the node: %q. It makes conntrack entries that lead from there to the container: %d datagrams arrive.", with.asked, with.received)
	s.figure("asked", with.asked)
	s.figure("received", with.received)
	s.expect(with.asked != clientPorts(playerPort) && with.received == streamCount, "with the helper the camera was asked %q, %d datagrams arrived", with.asked, with.received)
	return nil
}

func clientPorts(first uint16) string { return fmt.Sprintf("client_port=%d-%d", first, first+1) }

// watched is what the camera was asked, and how many datagrams the player received.
type watched struct {
	asked    string
	refused  bool // by the node
	received int
}

// watch has a player in the container receive a stream from a camera at the server.
func (l *lab) watch(ctx context.Context, helped bool) (w watched, err error) {
	ctx, cancel := context.WithTimeout(ctx, successTimeout)
	defer cancel()
	control, err := l.Server.Listen(netip.AddrPortFrom(l.V4.Server, rtspPort))
	if err != nil {
		return w, err
	}
	defer func() { _ = control.Close() }()
	player, err := l.pod.ListenUDP(netip.AddrPortFrom(l.addr, playerPort))
	if err != nil {
		return w, err
	}
	defer func() { _ = player.Close() }()
	c, err := l.pod.Dial(ctx, "tcp", netip.AddrPort{}, netip.AddrPortFrom(l.V4.Server, rtspPort))
	if err != nil {
		return w, err
	}
	defer func() { _ = c.Close() }()
	deadline, _ := ctx.Deadline()
	if err := errors.Join(control.SetDeadline(deadline), player.SetReadDeadline(deadline), c.SetDeadline(deadline)); err != nil {
		return w, err
	}
	url := fmt.Sprintf("rtsp://%s/camera", l.V4.Server)
	if _, err := fmt.Fprintf(c, "SETUP %s RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;unicast;%s\r\n\r\n", url, clientPorts(playerPort)); err != nil {
		return w, err
	}
	camera, err := control.Accept()
	if err != nil {
		return w, err
	}
	defer func() { _ = camera.Close() }()
	if err := camera.SetDeadline(deadline); err != nil {
		return w, err
	}
	if w.asked, err = answerSetup(camera); err != nil {
		return w, err
	}
	// The player has the answer, so the stream is open.
	if _, err := textproto.NewReader(bufio.NewReader(c)).ReadLine(); err != nil {
		return w, err
	}
	w.refused, err = l.stream(ctx, camera.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(), w.asked, helped)
	if err != nil || w.refused {
		return w, err
	}
	for buf := make([]byte, 2048); w.received < streamCount; w.received++ {
		if _, err := player.Read(buf); err != nil {
			return w, err
		}
	}
	return w, nil
}

// answerSetup reads a SETUP and grants it. It returns the ports that were requested.
func answerSetup(camera net.Conn) (ports string, err error) {
	r := textproto.NewReader(bufio.NewReader(camera))
	if _, err := r.ReadLine(); err != nil {
		return "", err
	}
	header, err := r.ReadMIMEHeader()
	if err != nil {
		return "", err
	}
	ports = regexp.MustCompile(`client_port=\d+-\d+`).FindString(header.Get("Transport"))
	_, err = fmt.Fprintf(camera, "RTSP/1.0 200 OK\r\nCSeq: 1\r\nSession: 1\r\nTransport: RTP/AVP;unicast;%s;server_port=%d-%d\r\n\r\n", ports, cameraPort, cameraPort+1)
	return ports, err
}

// stream sends the stream from the camera to the ports that it was asked for. refused is true if
// the node refuses it; then only one datagram is sent.
func (l *lab) stream(ctx context.Context, to netip.Addr, ports string, helped bool) (refused bool, err error) {
	port, err := strconv.ParseUint(regexp.MustCompile(`\d+`).FindString(ports), 10, 16)
	if err != nil {
		return false, err
	}
	c, err := l.Server.Dial(ctx, "udp", netip.AddrPortFrom(l.V4.Server, cameraPort), netip.AddrPortFrom(to, uint16(port)))
	if err != nil {
		return false, err
	}
	defer func() { _ = c.Close() }()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return false, err
	}
	if !helped {
		_, err := c.Write([]byte("RTP"))
		if err == nil {
			_, err = c.Read(make([]byte, 1)) // ICMP "port unreachable" is an error of the socket
		}
		if errors.Is(err, unix.ECONNREFUSED) {
			return true, nil
		}
		return false, err
	}
	for range streamCount {
		if _, err := c.Write([]byte("RTP")); err != nil {
			return false, err
		}
	}
	return false, nil
}
