package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// Ports of the RTSP servers.
const (
	gstreamerPort = 8554
	vlcPort       = 8555
)

// Size of the streams: frames are small, and 100 of them take a second.
const (
	streamWidth  = 64
	streamHeight = 64
	streamRate   = 100
	frameCount   = 100 // frames that a client has to decode
)

// gstreamerServer is an RTSP server with the library of GStreamer. Debian has no program of
// it. Its arguments are the port and the range of ports that it sends from.
const gstreamerServer = `import sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer, GLib
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("::")
server.set_service(sys.argv[1])
media = GstRtspServer.RTSPMediaFactory()
media.set_launch("( videotestsrc is-live=true ! video/x-raw,format=I420,width=%[1]d,height=%[2]d,framerate=%[3]d/1 ! jpegenc ! rtpjpegpay name=pay0 pt=26 )")
media.set_shared(False) # a shared stream that ends while another client begins it aborts the server
if len(sys.argv) > 2:
	pool = GstRtspServer.RTSPAddressPool()
	for any in (GstRtspServer.RTSP_ADDRESS_POOL_ANY_IPV4, GstRtspServer.RTSP_ADDRESS_POOL_ANY_IPV6):
		pool.add_range(any, any, int(sys.argv[2]), int(sys.argv[3]), 0)
	media.set_address_pool(pool)
server.get_mount_points().add_factory("/test", media)
server.attach(None)
GLib.MainLoop().run()
`

// serveGStreamer starts a GStreamer server on all addresses of a namespace.
func (w *world) serveGStreamer(n *nstest.NS, args ...string) {
	w.t.Helper()
	script := fmt.Sprintf(gstreamerServer, streamWidth, streamHeight, streamRate)
	w.background(n.Command(context.Background(), debianPython, append([]string{"-c", script, strconv.Itoa(gstreamerPort)}, args...)...))
	w.listening(n, "tcp", gstreamerPort)
}

// serveVLC starts a VLC server on all addresses of a namespace. VLC does not run as root. It sends a
// film that is longer than a test: at the end of a film, VLC stops sending to its clients.
func (w *world) serveVLC(n *nstest.NS) {
	w.t.Helper()
	w.open()
	clip, film := filepath.Join(w.dir, "clip.avi"), filepath.Join(w.dir, "film.avi")
	for _, args := range [][]string{
		// Motion JPEG over RTP has no field for Huffman tables (RFC 2435, 3.1).
		{"-f", "lavfi", "-i", fmt.Sprintf("testsrc=size=%dx%d:rate=%d:duration=10", streamWidth, streamHeight, streamRate), "-c:v", "mjpeg", "-huffman", "default", "-pix_fmt", "yuvj420p", clip},
		{"-stream_loop", "59", "-i", clip, "-c", "copy", film}, // ten minutes
	} {
		c := exec.CommandContext(soon(w.t), "ffmpeg", append([]string{"-v", "error", "-nostdin"}, args...)...)
		if out, err := c.CombinedOutput(); err != nil {
			w.t.Fatalf("%v: %v\n%s", c.Args, err, out)
		}
	}
	w.background(n.Command(context.Background(), "setpriv", "--reuid", strconv.Itoa(unprivileged), "--regid", strconv.Itoa(unprivileged), "--clear-groups",
		"env", "HOME=/nonexistent", "cvlc", "--intf", "dummy", "--no-dbus", "--no-audio", "--loop", film,
		"--sout", fmt.Sprintf("#rtp{sdp=rtsp://:%d/test}", vlcPort), "--sout-keep"))
	w.listening(n, "tcp", vlcPort)
}

// rtspClient is a program that receives a stream by UDP. It returns the number of frames that
// it decoded, at most frameCount. It ends if no frame arrives for some seconds.
type rtspClient struct {
	name    string
	receive func(ctx context.Context, n *nstest.NS, dir string, server netip.AddrPort, seconds int) (frames int, log string)
}

// rtspClients are the clients of the tests. VLC is none of them: Debian builds it without
// its client for RTSP.
var rtspClients = []rtspClient{
	{"ffmpeg", func(ctx context.Context, n *nstest.NS, _ string, server netip.AddrPort, seconds int) (int, string) {
		return ffmpeg(ctx, n, server, seconds, "-rtsp_transport", "udp")
	}},
	{"GStreamer", func(ctx context.Context, n *nstest.NS, dir string, server netip.AddrPort, seconds int) (int, string) {
		return gstreamer(ctx, n, dir, server, seconds, frameCount)
	}},
}

// Seconds that a client waits for a frame. A busy machine must not end a client that is to
// receive a stream.
const (
	mediaTimeout = 120
	noMedia      = 30 // enough to agree on the ports of the stream, on a slow machine too
)

// ffmpeg receives a stream with ffmpeg. Options come before the input.
func ffmpeg(ctx context.Context, n *nstest.NS, server netip.AddrPort, seconds int, options ...string) (frames int, log string) {
	args := append([]string{"-v", "warning", "-nostdin", "-nostats", "-progress", "pipe:1", "-timeout", fmt.Sprintf("%d000000", seconds)}, options...)
	args = append(args, "-i", fmt.Sprintf("rtsp://%s/test", server), "-frames:v", strconv.Itoa(frameCount), "-f", "null", "-")
	c := n.Command(ctx, "ffmpeg", args...)
	var progress, diag bytes.Buffer
	c.Stdout, c.Stderr = &progress, &diag
	err := c.Run()
	// Reports of progress are lines of key and value.
	for line := range bytes.Lines(progress.Bytes()) {
		if count, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("frame=")); ok {
			frames, _ = strconv.Atoi(string(count))
		}
	}
	if err != nil {
		fmt.Fprintln(&diag, err)
	}
	return frames, diag.String()
}

// gstreamer receives a number of frames by UDP with GStreamer, which writes them to a file in
// an empty directory.
func gstreamer(ctx context.Context, n *nstest.NS, dir string, server netip.AddrPort, seconds, count int) (frames int, log string) {
	c := n.Command(ctx, "gst-launch-1.0", "-q", "rtspsrc", fmt.Sprintf("location=rtsp://%s/test", server), "protocols=udp",
		fmt.Sprintf("timeout=%d000000", seconds), fmt.Sprintf("tcp-timeout=%d000000", seconds),
		"!", "decodebin", "!", "videoconvert", "!", "video/x-raw,format=I420",
		// The element that counts drops the last frame.
		"!", "identity", fmt.Sprintf("eos-after=%d", count+1), "!", "filesink", "location="+framesIn(dir))
	c.Env = append(os.Environ(), "GST_REGISTRY="+filepath.Join(dir, "registry"))
	out, err := c.CombinedOutput()
	if err != nil {
		out = fmt.Appendln(out, err)
	}
	return writtenFrames(dir), string(out)
}

func framesIn(dir string) string { return filepath.Join(dir, "frames") }

// writtenFrames returns the number of frames that GStreamer has written to a directory.
func writtenFrames(dir string) int {
	file, err := os.Stat(framesIn(dir))
	if err != nil {
		return 0
	}
	return int(file.Size()) / (streamWidth * streamHeight * 3 / 2) // I420 has 12 bits per pixel
}

// withRTSP are the keys of a network with the helper for both servers.
var withRTSP = keys{"helpers": keys{"rtsp": []uint16{gstreamerPort, vlcPort}}}

// redirects waits until masqd handles an attachment's flows to these ports, and until its
// listeners are reserved. Without a redirection, a flow would reach its server without the
// helper.
func (w *world) redirects(p *pod, protocol string, ports ...uint16) {
	w.t.Helper()
	for _, ip := range p.result.IPs {
		for _, port := range ports {
			if protocol == "udp" && ip.Address.IP.To4() == nil {
				continue // talk is IPv4 only
			}
			key := fmt.Sprintf("%s . %s . %d ", ip.Address.IP, protocol, port)
			until(w.t, "masqd handles "+key, func() bool {
				out, _ := w.Node.Command(soon(w.t), "nft", "list", "table", "inet", "masq-helpers").Output()
				return bytes.Contains(out, []byte(key)) // without the table, nft fails
			})
		}
	}
	// An ADD that reads the node's sockets while masqd opens its listeners can leave rules of an
	// earlier set of ports, which masqd's next sync replaces.
	until(w.t, "the rules are in order", func() bool { return w.command(w.Node, "inspect", "drift").Run() == nil })
}

// TestRTSPPrograms has real clients in a container receive streams by UDP from real servers.
// Without the helper the servers send to the node, which no client receives.
func TestRTSPPrograms(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.serveGStreamer(w.Server)
	w.serveVLC(w.Server)
	w.daemon()
	for _, helped := range []bool{true, false} {
		t.Run(fmt.Sprintf("helper %v", helped), func(t *testing.T) {
			w := w.in(t)
			conf := w.masq()
			if helped {
				conf = conf.With(withRTSP)
			}
			p := w.attach("a", w.conflist("1.1.0", conf))
			if helped {
				w.redirects(p, "tcp", gstreamerPort, vlcPort)
			}
			var wg sync.WaitGroup
			media := map[netip.Addr]*nstest.Capture{}
			for _, plan := range w.Plans() {
				media[plan.Server] = assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return q.Proto == unix.IPPROTO_UDP && q.Dst == plan.Node }))(t)
				for server, port := range map[string]uint16{"GStreamer": gstreamerPort, "VLC": vlcPort} {
					for _, client := range rtspClients {
						dir := t.TempDir()
						if helped {
							frames, log := client.receive(soon(t), p.NS, dir, at(plan.Server, port), mediaTimeout)
							if frames != frameCount {
								t.Errorf("%s received %d frames of %s at %s\n%s", client.name, frames, server, plan.Server, log)
							}
							continue
						}
						wg.Go(func() { // all wait in vain: at the same time
							if frames, _ := client.receive(soon(t), p.NS, dir, at(plan.Server, port), noMedia); frames != 0 {
								t.Errorf("%s received %d frames of %s at %s without the helper", client.name, frames, server, plan.Server)
							}
						})
					}
				}
			}
			wg.Wait()
			for server, sent := range media {
				if len(sent.Packets()) == 0 {
					t.Errorf("%s sent no datagram to the node", server)
				}
			}
		})
	}
}

// TestRTSPRestart restarts masqd while a player receives a stream. The player gets the end of its
// control connection, connects again without the helper, and receives the same stream to its end.
func TestRTSPRestart(t *testing.T) {
	const count = 10 * frameCount // ten seconds
	w := newWorld(t, nstest.Uplink{})
	w.serveVLC(w.Server)
	d := w.daemon()
	p := w.attach("a", w.conflist("1.1.0", w.masq().With(withRTSP)))
	for _, plan := range w.Plans() {
		w.redirects(p, "tcp", vlcPort)
		connections := assert.Must(p.Capture("eth0", func(q nstest.Packet) bool { return q.TCPFlags == nstest.SYN && q.Dst == plan.Server }))(t)
		dir := t.TempDir()
		var player sync.WaitGroup
		player.Go(func() {
			frames, log := gstreamer(soon(t), p.NS, dir, at(plan.Server, vlcPort), mediaTimeout, count)
			if frames != count {
				t.Errorf("%d frames of %s\n%s", frames, plan.Server, log)
			}
		})
		t.Cleanup(player.Wait)
		until(t, "frames of "+plan.Server.String(), func() bool { return writtenFrames(dir) > 0 })
		d.end()
		if n := writtenFrames(dir); n >= count {
			t.Errorf("the stream of %s ended before masqd did", plan.Server)
		}
		d = w.daemon()
		player.Wait()
		ports := map[uint16]bool{}
		for _, q := range connections.Packets() {
			ports[q.SrcPort] = true
		}
		if len(ports) != 2 {
			t.Errorf("%d connections to %s, want a second one after the end of masqd", len(ports), plan.Server)
		}
	}
}

// TestRTSPSamePorts: two containers receive streams at the same time, with the same ports and
// the same egress address.
func TestRTSPSamePorts(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.serveGStreamer(w.Server)
	w.daemon()
	list := w.conflist("1.1.0", w.masq().With(withRTSP))
	a, b := w.attach("a", list), w.attach("b", list)
	w.redirects(a, "tcp", gstreamerPort)
	w.redirects(b, "tcp", gstreamerPort)
	for _, plan := range w.Plans() {
		var wg sync.WaitGroup
		for _, p := range []*pod{a, b} {
			wg.Go(func() {
				frames, log := ffmpeg(soon(t), p.NS, at(plan.Server, gstreamerPort), mediaTimeout, "-rtsp_transport", "udp", "-min_port", "5000", "-max_port", "5001")
				if frames != frameCount {
					t.Errorf("%s received %d frames of %s\n%s", p.Name(), frames, plan.Server, log)
				}
			})
		}
		wg.Wait()
	}
}

// TestRTSPInterleaved: streams within the control connection, also through a tunnel over HTTP,
// pass masqd unchanged, and the server sends no datagram.
func TestRTSPInterleaved(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.serveGStreamer(w.Server)
	d := w.daemon()
	p := w.attach("a", w.conflist("1.1.0", w.masq().With(withRTSP)))
	w.redirects(p, "tcp", gstreamerPort)
	datagrams := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return q.Proto == unix.IPPROTO_UDP }))(t)
	for _, plan := range w.Plans() {
		for _, transport := range []string{"tcp", "http"} {
			frames, log := ffmpeg(soon(t), p.NS, at(plan.Server, gstreamerPort), mediaTimeout, "-rtsp_transport", transport)
			if frames != frameCount {
				t.Errorf("%d frames of %s by %s\n%s", frames, plan.Server, transport, log)
			}
		}
	}
	if n := len(datagrams.Packets()); n != 0 {
		t.Errorf("%d datagrams", n)
	}
	// A tunnel is two connections.
	if got := d.metric(`masq_helper_unreadable_total{helper="rtsp",protocol="http"}`); got != "4" {
		t.Errorf("%s tunnels are counted, want 4", got)
	}
}

// TestRTSPPublished: a server in a container streams to a client outside. The client's RTCP
// arrives at the published ports.
func TestRTSPPublished(t *testing.T) {
	const first, last = 6000, 6003 // two ports for each family
	ports := []keys{{"hostPort": gstreamerPort, "containerPort": gstreamerPort, "protocol": "tcp"}}
	for port := first; port <= last; port++ {
		ports = append(ports, keys{"hostPort": port, "containerPort": port, "protocol": "udp"})
	}
	w := newWorld(t, nstest.Uplink{})
	p := w.attachWith("a", w.conflist("1.1.0", w.masq(), portmap()), map[string]any{"portMappings": ports})
	w.serveGStreamer(p.NS, strconv.Itoa(first), strconv.Itoa(last))
	for _, plan := range w.Plans() {
		// Ports of RTCP are odd.
		report := func(q nstest.Packet) bool {
			return q.Proto == unix.IPPROTO_UDP && q.Src == plan.Server && q.DstPort%2 == 1
		}
		reports := assert.Must(p.Capture("eth0", report))(t)
		if frames, log := ffmpeg(soon(t), w.Server, at(plan.Node, gstreamerPort), mediaTimeout, "-rtsp_transport", "udp"); frames != frameCount {
			t.Errorf("%d frames from %s\n%s", frames, plan.Node, log)
		}
		if _, err := reports.WaitFor(soon(t), report); err != nil {
			t.Errorf("RTCP of %s: %v", plan.Server, err)
		}
	}
}

// TestRTSPFirewalld: firewalld, as Debian configures it, accepts what is redirected to masqd, and
// the streams.
func TestRTSPFirewalld(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.firewalld("nftables")
	w.serveGStreamer(w.Server)
	w.daemon()
	p := w.attach("a", w.conflist("1.1.0", w.masq().With(withRTSP)))
	w.redirects(p, "tcp", gstreamerPort)
	for _, plan := range w.Plans() {
		frames, log := ffmpeg(soon(t), p.NS, at(plan.Server, gstreamerPort), mediaTimeout, "-rtsp_transport", "udp")
		if frames != frameCount {
			t.Errorf("%d frames of %s\n%s", frames, plan.Server, log)
		}
	}
}
