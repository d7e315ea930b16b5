package rtsp_test

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/alg/rtsp"
)

// A proxy replaces the client's ports with ports of the egress address.
func ExampleRewriteSetup() {
	request := "SETUP rtsp://198.51.100.241/a/track1 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP;unicast;client_port=5000-5001\r\n\r\n"
	answer := "RTSP/1.0 200 OK\r\nCSeq: 3\r\nTransport: RTP/AVP;unicast;client_port=40000-40001;server_port=6970-6971\r\n\r\n"

	a := rtsp.Addresses{
		Client: netip.MustParseAddr("10.88.0.2"), Egress: netip.MustParseAddr("192.0.2.53"), Server: netip.MustParseAddr("198.51.100.241"),
	}
	free := func(rtsp.Ports) (rtsp.Ports, error) { return rtsp.Ports{First: 40000, Second: 40001}, nil }

	p, err := rtsp.NewReader(strings.NewReader(request)).Next()
	if err != nil {
		panic(err)
	}
	out, mappings, err := rtsp.RewriteSetup(nil, p.Message, a, free)
	if err != nil {
		panic(err)
	}
	fmt.Println(strings.Split(string(out), "\r\n")[2])

	p, err = rtsp.NewReader(strings.NewReader(answer)).Next()
	if err != nil {
		panic(err)
	}
	out, media, _, err := rtsp.RewriteSetupAnswer(nil, p.Message, a, mappings)
	if err != nil {
		panic(err)
	}
	fmt.Println(strings.Split(string(out), "\r\n")[2])
	fmt.Println("open", media.Egress, "for", media.Server, "to", media.Client)
	// Output:
	// Transport: RTP/AVP;unicast;client_port=40000-40001
	// Transport: RTP/AVP;unicast;client_port=5000-5001;server_port=6970-6971
	// open 40000-40001 for 6970-6971 to 5000-5001
}
