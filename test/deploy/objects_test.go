package deploy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/masq-cni/masq-cni/test/assert"
)

const (
	root  = "../.."
	chart = root + "/deploy/helm/masq-cni"

	// repository is the name of the image without its tag.
	repository = "ghcr.io/masq-cni/masq-cni"
)

// object is an API object with its kind and name.
type object struct {
	id   string
	name string
	any
}

// kinds are the kinds that deploy/ may contain.
var kinds = map[string]func() any{
	"apps/v1 DaemonSet": func() any { return &apps.DaemonSet{} },
	"v1 ConfigMap":      func() any { return &core.ConfigMap{} },
	"v1 ServiceAccount": func() any { return &core.ServiceAccount{} },

	"rbac.authorization.k8s.io/v1 ClusterRole":        func() any { return &rbac.ClusterRole{} },
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding": func() any { return &rbac.ClusterRoleBinding{} },
	"monitoring.coreos.com/v1 PodMonitor":             func() any { return &monitoring.PodMonitor{} },
	"monitoring.coreos.com/v1 PrometheusRule":         func() any { return &monitoring.PrometheusRule{} },
}

var separator = regexp.MustCompile(`(?m)^---$`)

// parse reads manifests as the API server does with strict validation: an unknown field or a
// wrong type is an error.
func parse(text []byte) (out []object, err error) {
	for _, doc := range separator.Split(string(text), -1) {
		var is struct {
			APIVersion, Kind string
			Metadata         struct{ Name string }
		}
		if err := yaml.Unmarshal([]byte(doc), &is); err != nil {
			return nil, fmt.Errorf("%w:\n%s", err, doc)
		}
		if is.Kind == "" {
			continue // comments
		}
		kind, known := kinds[is.APIVersion+" "+is.Kind]
		if !known {
			return nil, fmt.Errorf("kind %s %s is not allowed", is.APIVersion, is.Kind)
		}
		o := object{is.Kind + " " + is.Metadata.Name, is.Metadata.Name, kind()}
		if err := yaml.UnmarshalStrict([]byte(doc), o.any); err != nil {
			return nil, fmt.Errorf("%s: %w", o.id, err)
		}
		normalize(o.any)
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b object) int { return cmp.Compare(a.id, b.id) })
	return out, nil
}

// normalize removes differences without meaning: the order of lists of named items.
func normalize(o any) {
	ds, ok := o.(*apps.DaemonSet)
	if !ok {
		return
	}
	spec := &ds.Spec.Template.Spec
	slices.SortFunc(spec.Volumes, func(a, b core.Volume) int { return cmp.Compare(a.Name, b.Name) })
	for _, list := range [][]core.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			slices.SortFunc(list[i].Env, func(a, b core.EnvVar) int { return cmp.Compare(a.Name, b.Name) })
			slices.SortFunc(list[i].VolumeMounts, func(a, b core.VolumeMount) int { return cmp.Compare(a.MountPath, b.MountPath) })
		}
	}
}

// text returns objects in the form in which they are compared, without Helm's labels.
func text(t testing.TB, all []object) string {
	t.Helper()
	var b strings.Builder
	for _, o := range all {
		var fields map[string]any
		assert.NoError(t, json.Unmarshal(assert.Must(json.Marshal(o.any))(t), &fields))
		if labels, ok := fields["metadata"].(map[string]any)["labels"].(map[string]any); ok {
			delete(labels, "app.kubernetes.io/managed-by")
			delete(labels, "helm.sh/chart")
		}
		fmt.Fprintf(&b, "%s\n%s\n", o.id, assert.Must(json.MarshalIndent(fields, "", "  "))(t))
	}
	return b.String()
}

// same reports the first difference of two lists of objects.
func same(t testing.TB, what string, got, want []object) {
	t.Helper()
	a, b := strings.Split(text(t, got), "\n"), strings.Split(text(t, want), "\n")
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			from := max(0, i-5)
			t.Errorf("%s: they differ, at first here:\n%s\n\nand\n%s", what,
				strings.Join(a[min(from, len(a)):min(i+3, len(a))], "\n"), strings.Join(b[min(from, len(b)):min(i+3, len(b))], "\n"))
			return
		}
	}
}

func daemonSet(t testing.TB, all []object) *apps.DaemonSet {
	t.Helper()
	for _, o := range all {
		if ds, ok := o.any.(*apps.DaemonSet); ok {
			return ds
		}
	}
	t.Fatal("no DaemonSet is rendered")
	return nil
}

// helm renders the chart with these values, each as KEY=VALUE of helm's --set.
func helm(t testing.TB, set ...string) []object {
	t.Helper()
	return assert.Must(parse(assert.Must(rendered(set...))(t)))(t)
}

func rendered(set ...string) ([]byte, error) {
	args := []string{"template", "masq-cni", chart, "--namespace", "kube-system"}
	for _, s := range set {
		flag := "--set"
		if _, value, _ := strings.Cut(s, "="); strings.HasPrefix(value, "{\"") || strings.HasPrefix(value, "[") {
			flag = "--set-json"
		}
		args = append(args, flag, s)
	}
	return tool("helm", args...)
}

// kustomize builds a directory.
func kustomize(t testing.TB, dir string) []object {
	t.Helper()
	return assert.Must(parse(assert.Must(tool("kustomize", "build", dir))(t)))(t)
}

// tool runs a program that the Makefile has installed, and returns its stdout.
func tool(name string, args ...string) ([]byte, error) {
	dir := os.Getenv("MASQ_DEPLOY")
	if dir == "" {
		return nil, errors.New("$MASQ_DEPLOY is not set: run the tests by make deploy")
	}
	c := exec.Command(filepath.Join(dir, name), args...)
	// helm and kustomize read the user's settings from $HOME.
	c.Env = append(os.Environ(), "HOME="+os.TempDir())
	var diag bytes.Buffer
	c.Stderr = &diag
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s%s", name, strings.Join(args, " "), err, diag.Bytes(), out)
	}
	return out, nil
}

// read reads a file of the checkout.
func read(t testing.TB, name string) []byte {
	t.Helper()
	return assert.Must(os.ReadFile(filepath.Join(root, name)))(t)
}

// closing closes a file that was only read.
func closing(c io.Closer) { _ = c.Close() }
