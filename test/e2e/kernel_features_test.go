package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

var featureMetric = regexp.MustCompile(`(?m)^masq_kernel_feature_available\{feature="([^"]+)"\} ([01])$`)

// TestDaemonReportsKernelFeatures: the log at start and the metrics agree on the kernel's
// features, and nft confirms them.
func TestDaemonReportsKernelFeatures(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	before := w.nodeRun("nft", "list", "ruleset")
	d := w.daemon("--config", filepath.Join(w.dir, "none"))
	if after := w.nodeRun("nft", "list", "ruleset"); after != before {
		t.Errorf("after masqd has probed the kernel, this remains:\n%s", after)
	}
	log := string(assert.Must(os.ReadFile(d.log))(t))
	line := regexp.MustCompile(`(?m)^.*msg="kernel features" available="?(\[.*\])"? missing="?(\[.*\])"?$`).FindStringSubmatch(log)
	if line == nil {
		t.Fatalf("the log does not list the kernel's features:\n%s", log)
	}
	_, text := d.get("/metrics")
	offered := map[string]bool{}
	for _, m := range featureMetric.FindAllStringSubmatch(text, -1) {
		offered[m[1]] = m[2] == "1"
	}
	if got := d.metric(`masq_kernel_feature_available{feature="masquerade"}`); got != "1" {
		t.Errorf("masquerade is available: %q", got)
	}
	for name, there := range offered {
		said := strings.Contains(log, fmt.Sprintf("msg=\"kernel lacks a feature\" feature=%q", name)) ||
			strings.Contains(log, fmt.Sprintf("msg=\"kernel lacks a feature\" feature=%s ", name))
		if said == there {
			t.Errorf("%s is offered: %t, and the log says that it is lacking: %t", name, there, said)
		}
		if listed := strings.Contains(line[1], name); listed != there {
			t.Errorf("%s is offered: %t, and the log lists it so: %t", name, there, listed)
		}
		if listed := strings.Contains(line[2], name); listed == there {
			t.Errorf("%s is offered: %t, and the log lists it as lacking: %t", name, there, listed)
		}
	}

	// nft uses each feature, in a separate namespace: the rules are loaded, not only checked.
	space := assert.Must(w.lab.Namespace("nft"))(t)
	asked := map[string]string{
		"masquerade":            "add rule inet t nat masquerade fully-random",
		"snat":                  "add rule inet t nat snat ip to 192.0.2.1",
		"numgen":                "add rule inet t filter numgen random mod 2 < 1",
		"fib":                   "add rule inet t filter fib daddr type local",
		"rt mtu":                "add rule inet t filter tcp flags syn tcp option maxseg size set rt mtu",
		"flowtable":             "add flowtable inet t f { hook ingress priority 0; }",
		"tcp option maxseg set": "add rule inet t filter tcp flags syn tcp option maxseg size set 1300",
	}
	assert.NoError(t, space.Command(soon(t), "nft", "add table inet t; add chain inet t filter { type filter hook forward priority 0; }; "+
		"add chain inet t nat { type nat hook postrouting priority 0; }").Run())
	for _, kind := range masq.KernelHelperKinds() {
		how := kind.Assign[0]
		asked["ct helper "+kind.Name] = fmt.Sprintf("add ct helper inet t %s { type %q protocol %s; l3proto ip; }", strings.ReplaceAll(kind.Name, "-", ""), how.Kernel, how.Protocol)
	}
	for name, command := range asked {
		there, known := offered[name]
		if !known {
			t.Errorf("%s is not among the metrics: %v", name, offered)
			continue
		}
		out, err := space.Command(soon(t), "nft", command).CombinedOutput()
		if (err == nil) != there {
			t.Errorf("%s is offered: %t; nft %s: %v: %s", name, there, command, err, out)
		}
	}
	lacking := []string{}
	for name, there := range offered {
		if !there {
			lacking = append(lacking, name)
		}
	}
	slices.Sort(lacking)
	t.Logf("%d features, and the kernel lacks %v", len(offered), lacking)
}

// TestDaemonEnvironment: flags are read from the environment. Flags of the command line
// override them. One hyphen or two are accepted, and seconds without a unit.
func TestDaemonEnvironment(t *testing.T) {
	const resyncs = `masq_syncs_total{reason="resync"}`
	none := func(w *world) string { return filepath.Join(w.dir, "none") }
	for _, c := range []struct {
		name   string
		env    map[string]string
		args   []string
		resync bool // one resync per second
	}{
		{"neither", nil, nil, false}, // control
		{"environment", map[string]string{"MASQD_RESYNC_INTERVAL": "1"}, nil, true},
		{"with a unit", map[string]string{"MASQD_RESYNC_INTERVAL": "1s"}, nil, true},
		{"one hyphen, seconds", nil, []string{"-resync-interval=1"}, true},
		{"the command line first", map[string]string{"MASQD_RESYNC_INTERVAL": "1"}, []string{"-resync-interval=60"}, false},
		{"the command line first, the other way", map[string]string{"MASQD_RESYNC_INTERVAL": "60"}, []string{"--resync-interval", "1"}, true},
		{"flags of ip-masq-agent", map[string]string{"MASQD_MASQ_CHAIN": "IP-MASQ", "MASQD_LOGTOSTDERR": "true"}, []string{"-v=2", "-resync-interval=1"}, true},
		{"a Service called masqd", map[string]string{"MASQD_SERVICE_HOST": "10.96.0.7", "MASQD_PORT": "tcp://10.96.0.7:80"}, []string{"-resync-interval=1"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			for name, v := range c.env {
				t.Setenv(name, v)
			}
			d := w.daemon(append([]string{"--config", none(w)}, c.args...)...)
			defer d.end()
			if c.resync {
				until(t, "masqd resyncs", func() bool { return d.metric(resyncs) == "2" })
				return
			}
			<-time.After(2500 * time.Millisecond) // with an interval of 1 s there would be two resyncs
			if n := d.metric(resyncs); n != "" {
				t.Errorf("%s resyncs within seconds, with an interval of one minute", n)
			}
		})
	}

	t.Run("all from the environment", func(t *testing.T) {
		w := newWorld(t, nstest.Uplink{})
		p := w.attach("a", w.conflist("1.1.0", w.masq()))
		for name, v := range map[string]string{
			"MASQD_STATE_DIR": filepath.Join(w.dir, "state"), "MASQD_LISTEN": daemonAt, "MASQD_LOG_FORMAT": "json",
			"MASQD_CONFIG": none(w), "MASQD_SOURCE_CIDRS": "10.200.0.0/16,fd00:200::/64",
		} {
			t.Setenv(name, v)
		}
		w.nft("delete table inet masq")
		d := w.launch()
		until(t, "masqd listens at its flag's address", func() bool { return d.metric("masq_attachments") == "1" })
		assert.NoError(t, p.tryCheck(p.list))
		table := w.nodeRun("nft", "list", "table", "inet", "masq")
		for _, want := range []string{"10.200.0.0/16", "fd00:200::/64"} {
			if !strings.Contains(table, want) {
				t.Errorf("%s is missing from the table", want)
			}
		}
		if text := string(assert.Must(os.ReadFile(d.log))(t)); !strings.HasPrefix(text, "{") {
			t.Errorf("the log is not JSON: %s", text)
		}
		d.end()
	})
	t.Run("refused", func(t *testing.T) {
		w := newWorld(t, nstest.Uplink{})
		for name, v := range map[string]string{"MASQD_RESYNC_INTERVALS": "60", "MASQD_SWEEP_GRACE": "soon"} {
			t.Setenv(name, v)
		}
		out, err := w.Node.Command(soon(t), built("masqd"), "--state-dir", filepath.Join(w.dir, "state"), "--listen", "").CombinedOutput()
		for _, want := range []string{"MASQD_RESYNC_INTERVALS", "MASQD_SWEEP_GRACE"} {
			if err == nil || !strings.Contains(string(out), want) {
				t.Errorf("%v: %s, which does not name %s", err, out, want)
			}
		}
	})
}
