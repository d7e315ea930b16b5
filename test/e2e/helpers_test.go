package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestEveryHelper loads each helper of the configuration into the kernel.
func TestEveryHelper(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attach("none", w.conflist("1.1.0", w.masq()))
	if list := w.nodeRun("nft", "list", "ct", "helpers", "table", "inet", "masq"); strings.Contains(list, "type") {
		t.Fatalf("helpers without a configuration:\n%s", list)
	}
	p.detach()
	for _, kind := range masq.KernelHelperKinds() {
		t.Run(kind.Name, func(t *testing.T) {
			w := w.in(t)
			w.attach("a", w.conflist("1.1.0", w.masq().With(keys{"helpers": keys{kind.Name: kind.Ports()}})))
			list := w.nodeRun("nft", "list", "ct", "helpers", "table", "inet", "masq")
			for _, how := range kind.Assign {
				if want := fmt.Sprintf("type %q protocol %s", how.Kernel, how.Protocol); !strings.Contains(list, want) {
					t.Errorf("missing %s:\n%s", want, list)
				}
			}
			if got := strings.Count(list, "type "); got != len(kind.Assign) {
				t.Errorf("%d helpers, want %d:\n%s", got, len(kind.Assign), list)
			}
		})
	}
}

// TestProtocolsPage follows docs/protocols.md.
func TestProtocolsPage(t *testing.T) {
	page := textOf("docs/protocols.md")
	w := newWorld(t, nstest.Uplink{})
	var plugins []keys
	for _, block := range textsOf(t, "docs/protocols.md", "json") {
		var conf keys
		assert.NoError(t, json.Unmarshal([]byte(block), &conf))
		if conf["type"] == "masq" {
			conf = w.masq().With(conf)
		}
		plugins = append(plugins, conf)
	}
	if len(plugins) != 3 {
		t.Fatalf("the page has %d plugins", len(plugins))
	}
	kernel, daemon, portmap := plugins[0], plugins[1], plugins[2]
	w.attachWith("a", w.conflist("1.1.0", kernel, portmap), published)
	w.daemon()
	w.redirects(w.attach("b", w.conflist("1.1.0", daemon)), "tcp", 554, 7070, 8554)
	var printed strings.Builder
	for _, block := range textsOf(t, "docs/protocols.md", "sh") {
		for line := range strings.Lines(block) {
			words := strings.Fields(line)
			printed.WriteString(w.nodeRun(words[0], words[1:]...))
		}
	}
	for _, helper := range []string{"ftp", "tftp", "sip"} {
		if !strings.Contains(printed.String(), fmt.Sprintf("type %q", helper)) {
			t.Errorf("missing helper %s:\n%s", helper, printed.String())
		}
	}
	for _, kind := range masq.HelperKinds {
		if !strings.Contains(page, fmt.Sprintf("| `%s` | ", kind.Name)) || !kind.Daemon && !strings.Contains(page, "`"+kind.Module+"`") {
			t.Errorf("the page does not name %s and its module %s", kind.Name, kind.Module)
		}
	}
	var tests strings.Builder
	for _, path := range assert.Must(filepath.Glob("*_test.go"))(t) {
		tests.Write(assert.Must(os.ReadFile(path))(t))
	}
	for _, name := range regexp.MustCompile(`\bTest\w+`).FindAllString(page, -1) {
		if !strings.Contains(tests.String(), "\nfunc "+name+"(") {
			t.Errorf("the page names %s, which does not exist", name)
		}
	}
}

// TestTFTP fetches a file with a real client from a real server, which answers from another
// port than the client's destination.
func TestTFTP(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	tftpd := program(t, "/usr/sbin/in.tftpd", "tftpd-hpa")
	content := bytes.Repeat([]byte("0123456789abcde\n"), 1000)
	root := t.TempDir()
	assert.NoError(t, os.WriteFile(filepath.Join(root, "file"), content, 0o644))
	m := w.machine(w.Server, map[string]string{"etc/hosts.allow": "", "etc/hosts.deny": ""})
	w.background(m.command(context.Background(), tftpd, "-L", "-a", ":69", "-s", root))
	w.listening(w.Server, "udp", 69)
	for _, network := range []struct {
		name   string
		helped bool
	}{{"helper", true}, {"no helper", false}} {
		t.Run(network.name, func(t *testing.T) {
			w := w.in(t)
			conf := w.masq()
			if network.helped {
				conf["helpers"] = keys{"tftp": []uint16{69}}
			}
			p := w.attach("a", w.conflist("1.1.0", conf))
			for _, plan := range w.Plans() {
				if network.helped {
					out, got, err := p.tftp(soon(t), plan.Server)
					if err != nil || !bytes.Equal(got, content) {
						t.Errorf("from %s: %d bytes of %d, %v\n%s", plan.Server, len(got), len(content), err, out)
					}
					continue
				}
				// The node rejects the answer.
				refusal := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return q.Src == plan.Node && unreachable(q) }))(t)
				ctx, cancel := context.WithCancel(soon(t))
				done := make(chan []byte)
				go func() {
					_, got, _ := p.tftp(ctx, plan.Server)
					done <- got
				}()
				if _, err := refusal.WaitFor(ctx, unreachable); err != nil {
					t.Errorf("the answer of %s was not refused: %v", plan.Server, err)
				}
				cancel()
				if got := <-done; len(got) != 0 {
					t.Errorf("%d bytes from %s without the helper", len(got), plan.Server)
				}
			}
		})
	}
}

// tftp fetches a file with the program tftp.
func (p *pod) tftp(ctx context.Context, server netip.Addr) (out, content []byte, err error) {
	path := filepath.Join(p.w.t.TempDir(), "file")
	out, err = p.Command(ctx, "tftp", server.String(), "-m", "binary", "-c", "get", "file", path).CombinedOutput()
	content, readErr := os.ReadFile(path)
	if err == nil {
		err = readErr
	}
	return out, content, err
}

func unreachable(p nstest.Packet) bool {
	return p.Proto == unix.IPPROTO_ICMP && p.ICMPType == 3 || p.Proto == unix.IPPROTO_ICMPV6 && p.ICMPType == 1
}

// TestPayload sends messages in which a client names its own address, and reads them at
// the far end. With the helper, a message names the node, and a call to that address
// reaches the container. Without it, a message names the container, which is unreachable.
func TestPayload(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	for _, protocol := range payloads {
		for _, helped := range []bool{true, false} {
			t.Run(protocol.helper+map[bool]string{true: "", false: " without its helper"}[helped], func(t *testing.T) {
				w := w.in(t)
				conf := w.masq()
				if helped {
					conf["helpers"] = keys{protocol.helper: []uint16{protocol.port}}
				}
				p := w.attach("a", w.conflist("1.1.0", conf))
				for _, plan := range w.Plans() {
					if protocol.ipv4Only && plan.Server.Is6() {
						continue
					}
					at := at(plan.Server, protocol.port)
					got := w.receive(p, protocol.network, at, protocol.message(p.addr(at.Addr()), at.Addr()))
					own, node := protocol.named(p.addr(at.Addr())), protocol.named(plan.Node)
					if bytes.Contains(got, node) != helped || bytes.Contains(got, own) == helped {
						t.Errorf("%s got %q; the container is %q, the node %q", at, got, own, node)
					}
					if elsewhere := p.addr(at.Addr()).String(); helped && bytes.Contains(got, []byte(elsewhere)) {
						t.Errorf("%s got %q, which still has %s", at, got, elsewhere)
					}
					if protocol.call == nil {
						continue
					}
					ctx := soon(t)
					if err := protocol.call(ctx, p, plan); (err == nil) != helped || ctx.Err() != nil {
						t.Errorf("a call from %s to the announced address: %v", at, err)
					}
				}
			})
		}
	}
}

// callbackPort is the port that a client announces in its payload.
const callbackPort = 5004

// payloads are protocols whose payload contains the client's address.
var payloads = []struct {
	helper, network string
	port            uint16
	ipv4Only        bool
	message         func(client, server netip.Addr) []byte
	named           func(netip.Addr) []byte // encoding of an address in the message
	call            part                    // nil if the server does not call the client
}{
	{"irc", "tcp", 6667, true, ircMessage, func(a netip.Addr) []byte {
		return fmt.Appendf(nil, " %d %d ", binary.BigEndian.Uint32(a.AsSlice()), callbackPort)
	}, callTCP},
	{"sip", "udp", 5060, false, sipMessage, func(a netip.Addr) []byte {
		return fmt.Appendf(nil, "c=IN %s %s\r\n", sdpFamily(a), a)
	}, callUDP},
	{"snmp", "udp", 162, true, snmpTrap, func(a netip.Addr) []byte {
		return tlv(snmpAddress, a.AsSlice()...)
	}, nil},
}

func callTCP(ctx context.Context, p *pod, plan nstest.Plan) error {
	s, err := p.ServeTCP(at(p.addr(plan.Server), callbackPort))
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = p.w.Server.Who(ctx, netip.AddrPort{}, at(plan.Node, callbackPort))
	return err
}

func callUDP(ctx context.Context, p *pod, plan nstest.Plan) error {
	s, err := p.ServeUDP(at(p.addr(plan.Server), callbackPort))
	if err != nil {
		return err
	}
	defer s.Close()
	return p.w.Server.EchoUDP(ctx, at(plan.Server, 0), at(plan.Node, callbackPort), 100)
}

// receive sends a message from a container and returns it as the server receives it. The
// connection stays open until the test ends.
func (w *world) receive(p *pod, network string, server netip.AddrPort, message []byte) []byte {
	w.t.Helper()
	var l io.Closer
	if network == "tcp" {
		l = assert.Must(w.Server.Listen(server))(w.t)
	} else {
		l = assert.Must(w.Server.ListenUDP(server))(w.t)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	is := func(q nstest.Packet) bool { return q.Destination() == server && len(q.Payload) > 0 }
	seen := assert.Must(w.Server.Capture("eth0", is))(w.t)
	defer seen.Close()
	// A SIP message is sent from the port that it names.
	c := assert.Must(p.Dial(soon(w.t), network, at(netip.Addr{}, server.Port()), server))(w.t)
	w.t.Cleanup(func() { _ = c.Close() })
	assert.Must(c.Write(message))(w.t)
	return assert.Must(seen.WaitFor(soon(w.t), is))(w.t).Payload
}

// ircMessage offers a file that the other side fetches from the client.
func ircMessage(client, _ netip.Addr) []byte {
	return fmt.Appendf(nil, "PRIVMSG friend :\x01DCC SEND file %d %d 1000\x01\r\n", binary.BigEndian.Uint32(client.AsSlice()), callbackPort)
}

// sipMessage is a call that announces where the client receives audio.
func sipMessage(client, server netip.Addr) []byte {
	body := fmt.Sprintf("v=0\r\no=a 1 1 IN %[1]s %[2]s\r\ns=-\r\nc=IN %[1]s %[2]s\r\nt=0 0\r\nm=audio %[3]d RTP/AVP 0\r\n",
		sdpFamily(client), client, callbackPort)
	return fmt.Appendf(nil, "INVITE sip:b@%[2]s SIP/2.0\r\nVia: SIP/2.0/UDP %[1]s;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"+
		"From: <sip:a@%[1]s>;tag=1\r\nTo: <sip:b@%[2]s>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@%[1]s>\r\n"+
		"Content-Type: application/sdp\r\nContent-Length: %[3]d\r\n\r\n%[4]s", at(client, 5060), at(server, 5060), len(body), body)
}

func sdpFamily(a netip.Addr) string { return map[bool]string{true: "IP4", false: "IP6"}[a.Is4()] }

// Tags of SNMP's encoding (RFC 1155, RFC 3416).
const (
	snmpInteger, snmpText, snmpOID, snmpSequence, snmpAddress = 0x02, 0x04, 0x06, 0x30, 0x40
	snmpV1, snmpV2                                            = 0, 1
	snmpV1Trap, snmpV2Trap                                    = 0xa4, 0xa7
)

// snmpTrap is a trap of SNMPv2c with the value of snmpTrapAddress.0, the client.
func snmpTrap(client, _ netip.Addr) []byte {
	address := tlv(snmpSequence, slices.Concat(tlv(snmpOID, 0x2b, 6, 1, 6, 3, 18, 1, 3, 0), tlv(snmpAddress, client.AsSlice()...))...)
	return snmpMessage(snmpV2, tlv(snmpV2Trap, slices.Concat(
		tlv(snmpInteger, 1), tlv(snmpInteger, 0), tlv(snmpInteger, 0), tlv(snmpSequence, address...))...))
}

func snmpMessage(version byte, pdu []byte) []byte {
	return tlv(snmpSequence, slices.Concat(tlv(snmpInteger, version), tlv(snmpText, []byte("public")...), pdu)...)
}

// tlv is a value in the basic encoding rules of ASN.1.
func tlv(tag byte, value ...byte) []byte { return append([]byte{tag, byte(len(value))}, value...) }

// TestSNMPv1Trap: the kernel's SNMP helper drops every message that it cannot parse. It
// parses only messages of SNMPv2c and requests of SNMPv1.
func TestSNMPv1Trap(t *testing.T) {
	const port = 162
	w := newWorld(t, nstest.Uplink{})
	for _, helped := range []bool{true, false} {
		t.Run(fmt.Sprintf("helper %v", helped), func(t *testing.T) {
			w := w.in(t)
			conf := w.masq()
			if helped {
				conf["helpers"] = keys{"snmp": []uint16{port}}
			}
			p := w.attach("a", w.conflist("1.1.0", conf))
			own, server := p.addr(w.V4.Server), at(w.V4.Server, port)
			v1 := snmpMessage(snmpV1, tlv(snmpV1Trap, slices.Concat(
				tlv(snmpOID, 0x2b, 6, 1, 4, 1, 1), tlv(snmpAddress, own.AsSlice()...),
				tlv(snmpInteger, 0), tlv(snmpInteger, 0), tlv(0x43, 1), tlv(snmpSequence))...))
			seen := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return q.DstPort == port }))(t)
			c := assert.Must(p.Dial(soon(t), "udp", netip.AddrPort{}, server))(t)
			defer c.Close()
			assert.Must(c.Write(v1))(t)
			w.receive(p, "udp", server, snmpTrap(own, server.Addr()))
			arrived := slices.ContainsFunc(packets(t, seen), func(q nstest.Packet) bool { return bytes.Equal(q.Payload, v1) })
			if arrived == helped {
				t.Errorf("arrived: %v", arrived)
			}
		})
	}
}

// TestRealAudio requests streams as RealAudio did and as RTSP does. The kernel has no
// helper: the client's message arrives unchanged. The stream arrives if portmap publishes
// the port, or within the connection.
func TestRealAudio(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	for _, open := range []bool{true, false} {
		t.Run(map[bool]string{true: "portmap", false: "no portmap"}[open], func(t *testing.T) {
			w := w.in(t)
			plugins := []keys{w.masq()}
			if open {
				plugins = append(plugins, portmap())
			}
			p := w.attachWith("a", w.conflist("1.1.0", plugins...),
				map[string]any{"portMappings": []keys{{"hostPort": callbackPort, "containerPort": callbackPort, "protocol": "udp"}}})
			for _, plan := range w.Plans() {
				for port, message := range map[uint16]string{
					554: fmt.Sprintf("SETUP rtsp://server/a RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;unicast;client_port=%d-%d\r\n\r\n", callbackPort, callbackPort+1),
					// PNA: a version, then the UDP port of the client as option 1.
					7070: fmt.Sprintf("PNA\x00\x0a\x00\x01\x00\x02%c%c", callbackPort>>8, callbackPort&0xff),
				} {
					server := at(plan.Server, port)
					if got := w.receive(p, "tcp", server, []byte(message)); string(got) != message {
						t.Errorf("%s got %q, want %q", server, got, message)
					}
				}
				ctx := soon(t)
				if err := callUDP(ctx, p, plan); (err == nil) != open || ctx.Err() != nil {
					t.Errorf("a stream from %s: %v", plan.Server, err)
				}
				w.interleaved(p, plan)
			}
		})
	}
}

// interleaved requests a stream within the connection (RFC 2326, 10.12).
func (w *world) interleaved(p *pod, plan nstest.Plan) {
	w.t.Helper()
	const request, stream = "SETUP rtsp://server/a RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n", "$\x00\x00\x04RTP."
	l := assert.Must(w.Server.Listen(at(plan.Server, 0)))(w.t)
	defer l.Close()
	c := assert.Must(p.Dial(soon(w.t), "tcp", netip.AddrPort{}, l.Addr().(*net.TCPAddr).AddrPort()))(w.t)
	defer c.Close()
	assert.Must(io.WriteString(c, request))(w.t)
	far := assert.Must(l.Accept())(w.t)
	defer far.Close()
	asked := make([]byte, len(request))
	assert.Must(io.ReadFull(far, asked))(w.t)
	assert.Must(io.WriteString(far, stream))(w.t)
	got := make([]byte, len(stream))
	assert.Must(io.ReadFull(c, got))(w.t)
	if string(asked) != request || string(got) != stream {
		w.t.Errorf("requested %q, got %q", asked, got)
	}
}
