package demo

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// fileSize is the size of the file that the container downloads, in bytes.
const fileSize = 300_000

// download downloads the file in the container. mss is the MSS that the server received in
// the SYN.
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
		err = nil // t has the bytes that arrived until then
	}
	if err != nil {
		return t, 0, err
	}
	syn, err := c.WaitFor(ctx, func(nstest.Packet) bool { return true })
	return t, syn.MSS, err
}

// freeze downloads without MSS clamping.
func freeze(ctx context.Context, l *lab, s *Step) error {
	if err := l.attach(ctx, nil); err != nil {
		return err
	}
	t, mss, err := l.download(ctx, failureTimeout)
	if err != nil {
		return err
	}
	dropped, err := l.Router.PMTUDropped()
	if err != nil {
		return err
	}
	s.say("The container's link has an MTU of 1500, so it tells the server an MSS of %d. The link between node and router has an MTU of %d.", mss, uplinkMTU)
	s.say("The segments do not fit into that link. The router answers with ICMP \"fragmentation needed\", but its firewall drops these errors: %d so far.", dropped)
	s.say("After %s, %d of %d bytes have arrived. The connection is established, but stalls.", failureTimeout, t.Bytes, fileSize)
	s.figure("mss", mss)
	s.figure("bytes", t.Bytes)
	s.figure("fragmentationNeededDropped", dropped)
	s.expect(mss == 1460 && t.Bytes == 0 && dropped > 0, "MSS %d, %d bytes, %d ICMP messages dropped", mss, t.Bytes, dropped)
	return nil
}

// clamp downloads with MSS clamping.
func clamp(ctx context.Context, l *lab, s *Step) error {
	if err := l.attach(ctx, map[string]any{"mssClamp": "pmtu"}); err != nil {
		return err
	}
	t, mss, err := l.download(ctx, successTimeout)
	if err != nil {
		return err
	}
	s.say("With \"mssClamp\": \"pmtu\", the node lowers the MSS in the SYN: the server receives %d, which is %d without 40 bytes of IP and TCP headers.", mss, uplinkMTU)
	s.say("All %d bytes arrive, in %s.", t.Bytes, t.Duration.Round(time.Millisecond))
	s.figure("mss", mss)
	s.figure("bytes", t.Bytes)
	s.figure("transferSeconds", t.Duration.Seconds())
	s.expect(mss == uplinkMTU-40 && t.Bytes == fileSize, "MSS %d, %d bytes", mss, t.Bytes)
	return nil
}
