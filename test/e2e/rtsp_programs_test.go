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
media.set_shared(True)
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

// serveVLC starts a VLC server on all addresses of a namespace. VLC does not run as root.
func (w *world) serveVLC(n *nstest.NS) {
	w.t.Helper()
	w.open()
	film := filepath.Join(w.dir, "film.avi")
	// Motion JPEG over RTP has no field for Huffman tables (RFC 2435, 3.1).
	encoder := exec.CommandContext(soon(w.t), "ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi",
		"-i", fmt.Sprintf("testsrc=size=%dx%d:rate=%d:duration=20", streamWidth, streamHeight, streamRate),
		"-c:v", "mjpeg", "-huffman", "default", "-pix_fmt", "yuvj420p", film)
	if out, err := encoder.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %v\n%s", encoder.Args, err, out)
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
		return gstreamer(ctx, n, dir, server, seconds, "protocols=udp")
	}},
}

// Seconds that a client waits for a frame. A busy machine must not end a client that is to
// receive a stream.
const (
	mediaTimeout = 120
	noMedia      = 10 // enough to agree on the ports of the stream
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

// gstreamer receives a stream with GStreamer, which writes the decoded frames to a file in
// an empty directory.
func gstreamer(ctx context.Context, n *nstest.NS, dir string, server netip.AddrPort, seconds int, options ...string) (frames int, log string) {
	path := filepath.Join(dir, "frames")
	args := append([]string{"-q", "rtspsrc", fmt.Sprintf("location=rtsp://%s/test", server), fmt.Sprintf("timeout=%d000000", seconds)}, options...)
	args = append(args, "!", "decodebin", "!", "videoconvert", "!", "video/x-raw,format=I420",
		// The element that counts drops the last frame.
		"!", "identity", fmt.Sprintf("eos-after=%d", frameCount+1), "!", "filesink", "location="+path)
	c := n.Command(ctx, "gst-launch-1.0", args...)
	c.Env = append(os.Environ(), "GST_REGISTRY="+filepath.Join(dir, "registry"))
	out, err := c.CombinedOutput()
	if err != nil {
		out = fmt.Appendln(out, err)
	}
	if file, err := os.Stat(path); err == nil {
		frames = int(file.Size()) / (streamWidth * streamHeight * 3 / 2) // I420 has 12 bits per pixel
	}
	return frames, string(out)
}

// TestRTSPPrograms has real clients in a container receive streams by UDP from real servers.
// Without the helper the servers send to the node, which no client receives.
func TestRTSPPrograms(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.serveGStreamer(w.Server)
	w.serveVLC(w.Server)
	w.knowPods()
	for _, network := range []struct {
		name     string
		conf     keys
		received bool
	}{
		{"direct", keys{"nonMasqueradeCIDRs": []string{w.V4.ServerNet.Masked().String(), w.V6.ServerNet.Masked().String()}}, true},
		{"no helper", nil, false},
	} {
		t.Run(network.name, func(t *testing.T) {
			w := w.in(t)
			p := w.attach("a", w.conflist("1.1.0", w.masq().With(network.conf)))
			var wg sync.WaitGroup
			media := map[netip.Addr]*nstest.Capture{}
			for _, plan := range w.Plans() {
				media[plan.Server] = assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return q.Proto == unix.IPPROTO_UDP && q.Dst == plan.Node }))(t)
				for server, port := range map[string]uint16{"GStreamer": gstreamerPort, "VLC": vlcPort} {
					for _, client := range rtspClients {
						dir := t.TempDir()
						if network.received {
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
				if (len(sent.Packets()) > 0) == network.received {
					t.Errorf("%d datagrams of %s to the node", len(sent.Packets()), server)
				}
			}
		})
	}
}
