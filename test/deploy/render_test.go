package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// components are the components of deploy/kustomize, and the equivalent values of the chart.
var components = map[string]string{
	"network":       "mode=network",
	"daemon-only":   "mode=none",
	"ip-masq-agent": "configMap=ip-masq-agent",
	"metrics":       "metrics.exposed=true",
	"nat-log":       "natLog.enabled=true",
	"prepare":       "prepare.enabled=true",
}

// The plain manifest, each overlay and the chart render the same objects.
func TestRenderingsAreTheSame(t *testing.T) {
	plain := assert.Must(parse(read(t, "deploy/masq-cni.yaml")))(t)
	same(t, "plain manifest and chart", plain, helm(t))
	same(t, "plain manifest and kustomize base", plain, kustomize(t, root+"/deploy/kustomize/base"))

	gone := assert.Must(parse(read(t, "deploy/uninstall.yaml")))(t)
	same(t, "plain uninstall and chart", gone, helm(t, "uninstall=true"))
	same(t, "plain uninstall and overlay", gone, kustomize(t, root+"/deploy/kustomize/overlays/uninstall"))

	if text(t, plain) == text(t, gone) {
		t.Error("the comparison misses a difference")
	}
	seen := []string{text(t, plain)}
	for name, value := range components {
		all := kustomize(t, root+"/deploy/kustomize/overlays/"+name)
		same(t, "overlay "+name+" and chart with "+value, all, helm(t, value))
		if this := text(t, all); slices.Contains(seen, this) {
			t.Errorf("overlay %s changes nothing", name)
		} else {
			seen = append(seen, this)
		}
	}
	overlays := assert.Must(filepath.Glob(root + "/deploy/kustomize/overlays/*"))(t)
	if len(overlays) != len(components)+1 {
		t.Errorf("overlays without a comparison: %v", overlays)
	}
}

// Components can be combined like values.
func TestCombinationsAreTheSame(t *testing.T) {
	dir := t.TempDir()
	assert.NoError(t, os.CopyFS(dir, os.DirFS(root+"/deploy/kustomize")))
	for _, mode := range []string{"", "network", "daemon-only"} {
		for _, chosen := range subsets("ip-masq-agent", "metrics", "nat-log", "prepare") {
			if mode != "" {
				chosen = append(chosen, mode)
			}
			file := "resources: [../base]\ncomponents:\n"
			var set []string
			for _, name := range chosen {
				file += "  - ../components/" + name + "\n"
				set = append(set, components[name])
			}
			mine := filepath.Join(dir, "mine")
			assert.NoError(t, os.MkdirAll(mine, 0o700))
			assert.NoError(t, os.WriteFile(filepath.Join(mine, "kustomization.yaml"), []byte(file), 0o600))
			same(t, fmt.Sprint(chosen), kustomize(t, mine), helm(t, set...))
		}
	}
}

func subsets(of ...string) (out [][]string) {
	for bits := range 1 << len(of) {
		var chosen []string
		for i, s := range of {
			if bits&(1<<i) != 0 {
				chosen = append(chosen, s)
			}
		}
		out = append(out, chosen)
	}
	return out
}

// The control of the other tests: faults in a manifest are found.
func TestFaultsAreFound(t *testing.T) {
	good := string(read(t, "deploy/masq-cni.yaml"))
	for _, c := range []struct{ from, to, want string }{
		{"hostNetwork: true", "hostNetworks: true", "unknown field"},
		{"hostNetwork: true", "hostNetwork: 1", "cannot unmarshal"},
		{"kind: DaemonSet", "kind: Deployment", "kind apps/v1 Deployment is not allowed"},
		{"          image: ", "          image: a\n          image: ", "already set"},
	} {
		bad := strings.Replace(good, c.from, c.to, 1)
		if _, err := parse([]byte(bad)); bad == good || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.to, err)
		}
	}
}
