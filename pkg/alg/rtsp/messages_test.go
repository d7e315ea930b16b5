package rtsp

import (
	"net/netip"
	"strings"
)

// crlf ends each line as on the wire.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

var (
	// RFC 2326, section 10.4.
	setup = crlf(`SETUP rtsp://example.com/foo/bar/baz.rm RTSP/1.0
CSeq: 302
Transport: RTP/AVP;unicast;client_port=4588-4589

`)
	setupAnswer = crlf(`RTSP/1.0 200 OK
CSeq: 302
Date: 23 Jan 1997 15:35:06 GMT
Session: 47112344
Transport: RTP/AVP;unicast;
  client_port=4588-4589;server_port=6256-6257

`)
	// RFC 2326, section 12.39: two offers.
	twoOffers = crlf(`SETUP rtsp://example.com/foo RTSP/1.0
CSeq: 1
Transport: RTP/AVP;multicast;ttl=127;mode="PLAY",
           RTP/AVP;unicast;client_port=3456-3457;mode="PLAY"

`)
	// RFC 7826, section 13.3.
	setup2 = crlf(`SETUP rtsp://example.com/foo/bar/baz.rm RTSP/2.0
CSeq: 302
Transport: RTP/AVP;unicast;dest_addr=":4588"/":4589",
           RTP/AVP/TCP;unicast;interleaved=0-1
Accept-Ranges: npt, clock
User-Agent: PhonyClient/1.2

`)
	setup2Answer = crlf(`RTSP/2.0 200 OK
CSeq: 302
Server: PhonyServer/1.1
Session: QKyjN8nt2WqbWw4tIYof52;timeout=60
Transport: RTP/AVP;unicast;dest_addr="192.0.2.53:4588"/
           "192.0.2.53:4589"; src_addr="198.51.100.241:6256"/
           "198.51.100.241:6257"; ssrc=2A3F93ED
Accept-Ranges: npt

`)
	// As libavformat (rtsp.c) writes it: the field comes before CSeq.
	ffmpeg = crlf(`SETUP rtsp://198.51.100.241:8554/test/streamid=0 RTSP/1.0
Transport: RTP/AVP/UDP;unicast;client_port=23556-23557
CSeq: 4
User-Agent: Lavf59.27.100

`)
	// A body, then another message in the same packet.
	describe = crlf(`RTSP/1.0 200 OK
CSeq: 2
Content-Type: application/sdp
Content-Length: 41

v=0
o=- 1 1 IN IP4 198.51.100.241
s=x
`) + setupAnswer
	// RealPlayer offers its own transport first.
	realPlayer = crlf(`SETUP rtsp://198.51.100.241/a.rm/streamid=0 RTSP/1.0
CSeq: 3
Transport: x-real-rdt/udp;client_port=6970;mode=play,rtp/avp/udp;unicast;client_port=6970/6980;mode=play,x-pn-tng/tcp;mode=play,rtp/avp/tcp;unicast;mode=play

`)
	play = crlf(`PLAY rtsp://example.com/foo RTSP/1.0
CSeq: 5
Session: 47112344

`)
	// Two frames of RFC 2326, section 10.12, around a message.
	interleaved = "$\x00\x00\x04RTP." + play + "$\x01\x00\x02RR"
)

var addresses = Addresses{
	Client: netip.MustParseAddr("10.88.0.2"),
	Egress: netip.MustParseAddr("192.0.2.53"),
	Server: netip.MustParseAddr("198.51.100.241"),
}

var all = map[string]string{
	"setup": setup, "setup answer": setupAnswer, "two offers": twoOffers, "setup 2.0": setup2,
	"answer 2.0": setup2Answer, "ffmpeg": ffmpeg, "describe": describe, "RealPlayer": realPlayer,
	"play": play, "interleaved": interleaved, "pipelined": setup + play + ffmpeg,
	"empty lines": "\r\n\r\n" + play + "\r\n" + play,
}
