package rtsp

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// allocator hands out ports from a first one.
type allocator struct {
	next  uint16
	calls []Ports
}

func (a *allocator) allocate(own Ports) (Ports, error) {
	a.calls = append(a.calls, own)
	out := Ports{First: a.next}
	a.next++
	if own.Second != 0 {
		out.Second = a.next
		a.next++
	}
	return out, nil
}

func TestRewriteSetup(t *testing.T) {
	with := func(s string, changes ...string) string { return strings.NewReplacer(changes...).Replace(s) }
	for name, c := range map[string]struct {
		in, want string
		mappings []Mapping
	}{
		"RFC 2326": {setup, with(setup, "4588-4589", "40000-40001"), []Mapping{{Ports{4588, 4589}, Ports{40000, 40001}}}},
		"ffmpeg":   {ffmpeg, with(ffmpeg, "23556-23557", "40000-40001"), []Mapping{{Ports{23556, 23557}, Ports{40000, 40001}}}},
		"two offers": {
			twoOffers,
			with(twoOffers, "3456-3457", "40000-40001", "PLAY\",\r\n           RTP", "PLAY\", RTP"),
			[]Mapping{{Ports{3456, 3457}, Ports{40000, 40001}}},
		},
		"RFC 7826": {
			setup2,
			with(setup2, `":4588"/":4589"`, `":40000"/":40001"`, ",\r\n           RTP", ", RTP"),
			[]Mapping{{Ports{4588, 4589}, Ports{40000, 40001}}},
		},
		"RealPlayer": {
			realPlayer,
			with(realPlayer, "client_port=6970;", "client_port=40000;", "6970/6980", "40001-40002", ",rtp", ", rtp", ",x-pn", ", x-pn"),
			[]Mapping{{Ports{6970, 0}, Ports{40000, 0}}, {Ports{6970, 6980}, Ports{40001, 40002}}},
		},
		"one pair for two offers": {
			with(setup, "4589", "4589,RTP/AVP/UDP;client_port=4588-4589"),
			with(setup, "4588-4589", "40000-40001, RTP/AVP/UDP;client_port=40000-40001"),
			[]Mapping{{Ports{4588, 4589}, Ports{40000, 40001}}},
		},
		"own address": {
			with(setup, ";client", ";destination=10.88.0.2;client"),
			with(setup, ";client_port=4588-4589", ";destination=192.0.2.53;client_port=40000-40001"),
			[]Mapping{{Ports{4588, 4589}, Ports{40000, 40001}}},
		},
		"own address of RTSP 2.0": {
			with(setup2, `":458`, `"10.88.0.2:458`),
			with(setup2, `":4588"/":4589"`, `"192.0.2.53:40000"/"192.0.2.53:40001"`, ",\r\n           RTP", ", RTP"),
			[]Mapping{{Ports{4588, 4589}, Ports{40000, 40001}}},
		},
		"TCP only": {
			with(setup, "RTP/AVP;unicast;client_port=4588-4589", "RTP/AVP/TCP;interleaved=0-1"),
			with(setup, "RTP/AVP;unicast;client_port=4588-4589", "RTP/AVP/TCP;interleaved=0-1"), nil,
		},
		"no transport": {play, play, nil},
	} {
		from := &allocator{next: 40000}
		got, mappings, err := RewriteSetup([]byte("x"), message(t, c.in), addresses, from.allocate)
		if err != nil || string(got) != "x"+c.want || !slices.Equal(mappings, c.mappings) {
			t.Errorf("%s: %v, %v\n%s\nwant %v\n%s", name, err, mappings, got, c.mappings, c.want)
		}
		if len(from.calls) != len(c.mappings) {
			t.Errorf("%s: %d allocations", name, len(from.calls))
		}
	}
}

func TestRewriteSetupRefuses(t *testing.T) {
	full := errors.New("no free ports")
	for transport, want := range map[string]error{
		"RTP/AVP;destination=203.0.113.9;client_port=2-3":    ErrForeignAddress,
		"RTP/AVP;destination=victim.example;client_port=2-3": ErrForeignAddress,
		"RTP/AVP;multicast;destination=203.0.113.9":          ErrForeignAddress,
		`RTP/AVP;dest_addr="203.0.113.9:2"/"203.0.113.9:3"`:  ErrForeignAddress,
		"RTP/AVP;client_port=0-1":                            ErrPorts,
		"RTP/AVP;client_port=2-9":                            ErrPorts,
		"RTP/AVP;client_port":                                ErrPorts,
		`RTP/AVP;dest_addr=":1"/":2"/":3"`:                   ErrPorts,
		"RTP/AVP;client_port=2-3;client_port=4-5":            ErrSyntax,
		"RTP/AVP;client_port=2-3":                            full,
		"RTP/AVP;client_port=4-5, RTP/AVP;client_port=2-3":   full,
	} {
		var made int
		_, mappings, err := RewriteSetup(nil, message(t, "SETUP rtsp://x RTSP/1.0\r\nTransport: "+transport+"\r\n\r\n"), addresses, func(p Ports) (Ports, error) {
			if p.First == 2 {
				return Ports{}, full
			}
			made++
			return p, nil
		})
		if !errors.Is(err, want) || len(mappings) != made {
			t.Errorf("%s: %v, want %v; %d of %d mappings", transport, err, want, len(mappings), made)
		}
	}
}

func TestRewriteSetupAnswer(t *testing.T) {
	mapping := Mapping{Ports{5000, 5001}, Ports{4588, 4589}}
	media := Media{mapping, Ports{6256, 6257}}
	answer := func(transport string) string {
		return "RTSP/1.0 200 OK\r\nCSeq: 1\r\nTransport: " + transport + "\r\n\r\n"
	}
	for name, c := range map[string]struct {
		in, want string
		media    Media
		udp      bool
	}{
		"RFC 2326": {setupAnswer, strings.NewReplacer("4588-4589", "5000-5001", ";\r\n  client", ";client").Replace(setupAnswer), media, true},
		"RFC 7826": {
			setup2Answer,
			crlf(`RTSP/2.0 200 OK
CSeq: 302
Server: PhonyServer/1.1
Session: QKyjN8nt2WqbWw4tIYof52;timeout=60
Transport: RTP/AVP;unicast;dest_addr="10.88.0.2:5000"/"10.88.0.2:5001";src_addr="198.51.100.241:6256"/             "198.51.100.241:6257";ssrc=2A3F93ED
Accept-Ranges: npt

`),
			media, true,
		},
		"addresses": {
			answer("RTP/AVP;destination=192.0.2.53;source=198.51.100.241;client_port=4588-4589;server_port=6256-6257"),
			answer("RTP/AVP;destination=10.88.0.2;source=198.51.100.241;client_port=5000-5001;server_port=6256-6257"), media, true,
		},
		"unspecified source": {
			answer("RTP/AVP;source=0.0.0.0;client_port=4588-4589;server_port=6256-6257"),
			answer("RTP/AVP;source=0.0.0.0;client_port=5000-5001;server_port=6256-6257"), media, true,
		},
		"no ports of the server": {answer("RTP/AVP;client_port=4588-4589"), answer("RTP/AVP;client_port=5000-5001"), Media{mapping, Ports{}}, true},
		"no ports":               {answer("RTP/AVP;server_port=6256-6257"), answer("RTP/AVP;server_port=6256-6257"), media, true},
		"TCP":                    {answer("RTP/AVP/TCP;interleaved=0-1"), answer("RTP/AVP/TCP;interleaved=0-1"), Media{}, false},
		"refused":                {strings.Replace(setupAnswer, "200 OK", "461 Unsupported", 1), strings.Replace(setupAnswer, "200 OK", "461 Unsupported", 1), Media{}, false},
	} {
		got, m, udp, err := RewriteSetupAnswer([]byte("x"), message(t, c.in), addresses, []Mapping{mapping})
		if err != nil || string(got) != "x"+c.want || m != c.media || udp != c.udp {
			t.Errorf("%s: %v, %+v, UDP %t\n%s\nwant %+v\n%s", name, err, m, udp, got, c.media, c.want)
		}
	}
}

func TestRewriteSetupAnswerRefuses(t *testing.T) {
	mappings := []Mapping{{Ports{5000, 5001}, Ports{4588, 4589}}, {Ports{5002, 0}, Ports{4590, 0}}}
	for transport, want := range map[string]error{
		"RTP/AVP;client_port=22-23;server_port=1-2":                    ErrPorts,
		"RTP/AVP;client_port=4588;server_port=1-2":                     ErrPorts,
		"RTP/AVP;server_port=1-2":                                      ErrPorts, // it could be for either mapping
		"RTP/AVP;client_port=4588-4589;server_port=0-1":                ErrPorts,
		"RTP/AVP;client_port=4588-4589;source=203.0.113.9":             ErrForeignAddress,
		"RTP/AVP;client_port=4588-4589;source=other.example":           ErrForeignAddress,
		"RTP/AVP;client_port=4588-4589;destination=10.88.0.3":          ErrForeignAddress,
		`RTP/AVP;dest_addr="10.88.0.9:4588"/"10.88.0.9:4589"`:          ErrForeignAddress,
		`RTP/AVP;client_port=4588-4589;src_addr="203.0.113.9:1"`:       ErrForeignAddress,
		`RTP/AVP;client_port=4588-4589;src_addr=":1";server_port=2`:    ErrPorts,
		`RTP/AVP;client_port=4588-4589;dest_addr=":4590"`:              ErrPorts,
		"RTP/AVP;client_port=4588-4589, RTP/AVP;client_port=4588-4589": ErrSyntax,
	} {
		_, m, udp, err := RewriteSetupAnswer(nil, message(t, "RTSP/1.0 200 OK\r\nTransport: "+transport+"\r\n\r\n"), addresses, mappings)
		if !errors.Is(err, want) || udp || m != (Media{}) {
			t.Errorf("%s: %v, want %v, %v", transport, err, want, m)
		}
	}
}

func TestIPv6(t *testing.T) {
	a := Addresses{netip.MustParseAddr("fd00::2"), netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("2001:db8:1::1")}
	in := "SETUP rtsp://x RTSP/2.0\r\nTransport: RTP/AVP;destination=fd00::2;dest_addr=\"[fd00::2]:2\"\r\n\r\n"
	want := "SETUP rtsp://x RTSP/2.0\r\nTransport: RTP/AVP;destination=2001:db8::53;dest_addr=\"[2001:db8::53]:40000\"\r\n\r\n"
	got, _, err := RewriteSetup(nil, message(t, in), a, (&allocator{next: 40000}).allocate)
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

func TestSession(t *testing.T) {
	for value, want := range map[string]string{"47112344": "47112344", "a;timeout=30": "a", "a ; timeout = 30": "a", "": ""} {
		if id := message(t, "RTSP/1.0 200 OK\r\nSession: "+value+"\r\n\r\n").Session(); id != want {
			t.Errorf("%q: %q, want %q", value, id, want)
		}
	}
	if n, err := message(t, setup).CSeq(); n != 302 || err != nil {
		t.Error(n, err)
	}
	if _, err := message(t, "RTSP/1.0 200 OK\r\nCSeq: -1\r\n\r\n").CSeq(); !errors.Is(err, ErrSyntax) {
		t.Error(err)
	}
}

func TestAppendRefusal(t *testing.T) {
	for in, want := range map[string]string{
		setup:       "RTSP/1.0 461 Unsupported Transport\r\nCSeq: 302\r\n\r\n",
		setup2:      "RTSP/2.0 461 Unsupported Transport\r\nCSeq: 302\r\n\r\n",
		setupAnswer: "RTSP/1.0 461 Unsupported Transport\r\nCSeq: 302\r\n\r\n",
	} {
		got := AppendRefusal(nil, message(t, in))
		if string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
		if m := message(t, string(got)); m.Status != 461 {
			t.Errorf("%q is read as %d", got, m.Status)
		}
	}
}
