package runtimes

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// starters are the networks that BenchmarkPodStart compares with the first. The first occurs
// twice: the second occurrence is the control.
var starters = []struct {
	name    string
	plugins func(ptp keys) []keys
}{
	{"ptp", func(ptp keys) []keys { return []keys{ptp} }},
	{"again", func(ptp keys) []keys { return []keys{ptp} }},
	{"masq", func(ptp keys) []keys { return []keys{ptp, masq} }},
	{"ipMasq", func(ptp keys) []keys { return []keys{ptp.With(keys{"ipMasq": true})} }},
}

// handler gives a release a runtime handler whose networks are in /etc/cni/NAME.
func (r release) handler(name string) release {
	section := `[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.`
	if r.dir != "" {
		section = `[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.`
	}
	r.config += section + name + "]\nruntime_type = \"io.containerd.runc.v2\"\ncni_conf_dir = \"/etc/cni/" + name + "\"\n"
	return r
}

// BenchmarkPodStart measures RunPodSandbox, and the time until a pod's container runs. The
// compared networks take turns on one node, where each has one pod already, in a new random
// order in each round: -benchtime 100x is 100 rounds. Ratios are ratios of medians.
func BenchmarkPodStart(b *testing.B) {
	for _, r := range releases(b) {
		b.Run(r.name, func(b *testing.B) {
			n := newNode(b)
			r := r.handler("runc")
			for i, s := range starters {
				r = r.handler(s.name)
				n.must("mkdir /etc/cni/%s", s.name)
				list := network{s.name, s.plugins(ptp.With(keys{"ipam": ipam(fmt.Sprintf("10.%d.0.0/16", 88+i))}))}
				n.write("/etc/cni/"+s.name+"/10-pods.conflist", list.text(b, r.version))
			}
			c := n.containerd(r)
			for _, s := range starters {
				_ = assert.Must(c.trySandbox("standing-"+s.name, s.name))(b)
			}
			took := starts{}
			for range b.N {
				for _, i := range rand.Perm(len(starters)) {
					took.add(c, starters[i].name)
				}
			}
			took.report(b)
		})
	}
}

// starts are the times of each network in ms.
type starts map[string][]float64

func (s starts) add(c *containerd, name string) {
	begin := time.Now()
	pod, err := c.trySandbox("pod", name)
	s[name] = append(s[name], time.Since(begin).Seconds()*1000)
	assert.NoError(c.t, err)
	pod.start("wait")
	s[name+" pod"] = append(s[name+" pod"], time.Since(begin).Seconds()*1000)
	pod.remove()
}

func (s starts) report(b *testing.B) {
	for _, ms := range s {
		slices.Sort(ms)
	}
	part := func(name string, percent int) float64 { return s[name][len(s[name])*percent/100] }
	for i, of := range starters {
		b.ReportMetric(part(of.name, 50), of.name+"-ms")
		if i > 0 {
			b.ReportMetric(part(of.name, 50)/part("ptp", 50), of.name+"/ptp")
			b.ReportMetric(part(of.name+" pod", 50)/part("ptp pod", 50), of.name+"/ptp-pod")
		}
		if b.N > 1 {
			b.Logf("%s: p10 %.1f ms, median %.1f ms, p90 %.1f ms; with its container %.1f ms",
				of.name, part(of.name, 10), part(of.name, 50), part(of.name, 90), part(of.name+" pod", 50))
		}
	}
	b.ReportMetric(0, "ns/op")
}
