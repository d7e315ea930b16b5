package e2e

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestInspectWithoutRights: inspect names the missing capability.
func TestInspectWithoutRights(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.attachNamed("ns", "p", w.masq())
	for _, words := range []string{"", "pods", "pod ns/p", "flows", "helpers", "ports --measure 0", "rules", "drift"} {
		for capabilities, want := range map[string]int{"-all,+net_admin": 0, "-all": 1} {
			out, exit := w.bounded(capabilities, append([]string{"inspect"}, strings.Fields(words)...)...)
			if want == 1 && (words == "drift" || words == "") {
				want = 2
			}
			if exit != want || strings.Contains(out, "CAP_NET_ADMIN is needed") != (want > 0) {
				t.Errorf("inspect %s with %s: %d, not %d\n%s", words, capabilities, exit, want, out)
			}
		}
	}
}

// TestInspectPipe: the command ends without an error when its reader closes the pipe.
func TestInspectPipe(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attachNamed("ns", "p", w.masq())
	server := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 7)))(t)
	// More than a pipe holds.
	for i := range 400 {
		assert.NoError(t, p.EchoUDP(soon(t), at(p.addr(w.V4.Server), uint16(10000+i)), server.Addr(), 1))
	}
	for _, format := range []string{"", "-o wide", "-o json", "-o yaml"} {
		line := "set -o pipefail; " + built("masq-cni") + " --state-dir " + filepath.Join(w.dir, "state") + " inspect flows " + format
		all := assert.Must(w.Node.Command(soon(t), "bash", "-c", line).Output())(t)
		first, err := w.Node.Command(soon(t), "bash", "-c", line+" | head -c 5").CombinedOutput()
		if err != nil || !bytes.HasPrefix(all, first) || len(first) != 5 || len(all) < 20_000 {
			t.Errorf("%q: %q of %d bytes, %v", format, first, len(all), err)
		}
		// The control: a reader that reads everything.
		if out, err := w.Node.Command(soon(t), "bash", "-c", line+" | wc -l").CombinedOutput(); err != nil || len(out) < 4 {
			t.Errorf("%q: %s, %v", format, out, err)
		}
	}
}

// TestInspectCompletion: shell completion offers pods and containers.
func TestInspectCompletion(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	web := w.attachNamed("shop", "web", w.masq())
	w.attach("bare", w.conflist("1.1.0", w.masq()))
	for _, tt := range []struct {
		typed string
		want  []string
	}{
		{"inspect pod ", []string{"bare", "shop/web"}},
		{"inspect pod sh", []string{"shop/web"}},
		{"inspect pod web0", []string{web.runtime.ContainerID}},
		{"inspect flows --pod s", []string{"shop/web"}},
		{"inspect flows --nat ", []string{"dnat", "none", "snat"}},
		{"inspect pod shop/web ", nil},
	} {
		words := strings.Split(tt.typed, " ")
		for _, from := range []*nstest.NS{w.Node, w.Server} {
			args := append([]string{"__complete", "--state-dir", filepath.Join(w.dir, "state")}, words...)
			if from != w.Node {
				args = append([]string{"__complete", "--netns", w.Node.Path()}, args[1:]...)
			}
			out, err := from.Command(soon(t), built("masq-cni"), args...).Output()
			assert.NoError(t, err)
			if strings.Contains(string(out), `\x20`) {
				t.Errorf("%q: a blank is shown as an escape:\n%s", tt.typed, out)
			}
			var got []string
			for line := range strings.Lines(string(out)) {
				if name, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); name != "" && !strings.HasPrefix(name, ":") {
					got = append(got, name)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q: %v, not %v", tt.typed, got, tt.want)
			}
		}
	}
}
