package rtsp

import (
	"errors"
	"strings"
	"testing"
)

func message(t testing.TB, s string) *Message {
	t.Helper()
	p, err := NewReader(strings.NewReader(s)).Next()
	if err != nil || p.Message == nil {
		t.Fatalf("%v in %q", err, s)
	}
	return p.Message
}

func TestTransports(t *testing.T) {
	for in, want := range map[string][]struct {
		spec   string
		udp    bool
		client Ports
	}{
		setup:      {{"RTP/AVP", true, Ports{4588, 4589}}},
		ffmpeg:     {{"RTP/AVP/UDP", true, Ports{23556, 23557}}},
		twoOffers:  {{"RTP/AVP", false, Ports{}}, {"RTP/AVP", true, Ports{3456, 3457}}},
		setup2:     {{"RTP/AVP", true, Ports{}}, {"RTP/AVP/TCP", false, Ports{}}},
		realPlayer: {{"x-real-rdt/udp", true, Ports{6970, 0}}, {"rtp/avp/udp", true, Ports{6970, 6980}}, {"x-pn-tng/tcp", false, Ports{}}, {"rtp/avp/tcp", false, Ports{}}},
		play:       nil,
		// Two fields; spaces; a semicolon at the end; a comma within quotes.
		"SETUP rtsp://x RTSP/1.0\r\ntransport : RTP/AVP ; unicast ; client_port = 2-3 ;\r\nTransport: RTP/SAVP;mode=\"a,b;c\"\r\n\r\n": {
			{"RTP/AVP", true, Ports{2, 3}}, {"RTP/SAVP", true, Ports{}},
		},
	} {
		got, err := message(t, in).Transports()
		if err != nil || len(got) != len(want) {
			t.Errorf("%s\n%v, %v", in, got, err)
			continue
		}
		for i, w := range want {
			client, err := got[i].ports("client_port")
			if got[i].Spec != w.spec || got[i].IsUDP() != w.udp || client != w.client || err != nil {
				t.Errorf("%s\nhas %s, UDP %t, ports %s, %v, want %v", in, got[i], got[i].IsUDP(), client, err, w)
			}
		}
	}
}

func TestTransportsRefuse(t *testing.T) {
	for _, value := range []string{
		"", ",", ";unicast", "RTP/AVP;unicast,", "RTP//AVP", "RTP/AVP;=1", "RTP/AVP;a b", `RTP/AVP;a="b`,
		"RTP/AVP;client_port=1-2;client_port=3-4", "RTP/AVP;client_port=1-2;CLIENT_PORT=3-4",
		"RTP/AVP;a\r\n b", "\x80", "RTP/AVP" + strings.Repeat(";a", 2), "RTP/AVP;" + many(MaxParams+1, ";"),
		many(MaxOffers+1, ","),
	} {
		got, err := message(t, "SETUP rtsp://x RTSP/1.0\r\nTransport: "+value+"\r\n\r\n").Transports()
		if !errors.Is(err, ErrSyntax) {
			t.Errorf("%.80q: %v, %v", value, got, err)
		}
	}
	if _, err := message(t, "SETUP rtsp://x RTSP/1.0\r\n"+strings.Repeat("Transport: RTP/AVP\r\n", MaxOffers+1)+"\r\n").Transports(); !errors.Is(err, ErrSyntax) {
		t.Error(err)
	}
}

// many returns n different names.
func many(n int, sep string) string {
	var all []string
	for i := range n {
		all = append(all, string(rune('a'+i%26))+strings.Repeat("x", i/26))
	}
	return strings.Join(all, sep)
}

func TestPorts(t *testing.T) {
	for in, want := range map[string]Ports{
		"5000": {5000, 0}, "5000-5001": {5000, 5001}, "5000 - 5001": {5000, 5001}, "65535": {65535, 0},
		"6970/6980": {6970, 6980}, "5001-5002": {5001, 5002},
		"": {}, "0": {}, "0-1": {}, "65536": {}, "5000-": {}, "-5000": {}, "5000-5000": {}, "5000-4999": {}, "65535-65536": {},
		"5000-6000": {}, "1/1": {}, "a": {}, "1-2-3": {}, "+1": {}, "0x10": {},
	} {
		got, err := parsePorts(in)
		if got != want || (err == nil) == want.IsZero() || err != nil && !errors.Is(err, ErrPorts) {
			t.Errorf("%q: %v, %v, want %v", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		`":3456"/":3457"`: `":3456"/":3457"`, `"192.0.2.5:1"`: `"192.0.2.5:1"`, `"[2001:db8::1]:1"/"[2001:db8::1]:2"`: `"[2001:db8::1]:1"/"[2001:db8::1]:2"`,
		`"192.0.2.5:1" / "192.0.2.5:9"`: `"192.0.2.5:1"/"192.0.2.5:9"`,
		`"192.0.2.5"`:                   "", `192.0.2.5:1`: "", `":1"/":1"`: "", `"a:1"/"b:2"`: "", `":1"/":2"/":3"`: "", `":0"`: "", `"`: "", "": "",
	} {
		got, err := parseEndpoints(in)
		if err == nil && got.String() != want || (err == nil) != (want != "") {
			t.Errorf("%q: %s, %v, want %s", in, got, err, want)
		}
	}
}
