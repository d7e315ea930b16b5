package deploy

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// host is a node where the containers of a manifest see only what they mount. podman runs
// them with the rights that the manifest gives.
type host struct {
	t      *testing.T
	ns     *nstest.NS
	dir    string // its directory
	podman []string
	conf   string // containers.conf(5) of podman
	parent string // parent cgroup
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, dir: t.TempDir(), parent: fmt.Sprintf("nt-deploy-%d", os.Getpid())}
	h.ns = assert.Must(nstest.New(t).Namespace("host"))(t)
	assert.NoError(t, nstest.SweepCgroups())
	own := t.TempDir()
	// With the configuration of the machine, podman makes /etc/cni/net.d/cni.lock.
	h.conf = own + "/containers.conf"
	assert.NoError(t, os.WriteFile(h.conf, []byte("[network]\nnetwork_backend = \"cni\"\nnetwork_config_dir = \""+own+"/cni\"\n"), 0o600))
	h.podman = []string{
		"--root", own + "/root", "--runroot", own + "/run", "--tmpdir", own + "/tmp",
		"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
	}
	t.Cleanup(func() {
		_, err := h.try("rm", "--force", "--all", "--time", "1")
		if err != nil {
			t.Error(err)
		}
		for _, dir := range assert.Must(filepath.Glob("/sys/fs/cgroup/*/" + h.parent))(t) {
			assert.NoError(t, nstest.RemoveCgroup(dir)) // podman leaves it
		}
	})
	for _, name := range []string{"run", "opt/cni/bin", "etc/cni/net.d"} {
		assert.NoError(t, os.MkdirAll(filepath.Join(h.dir, name), 0o755))
	}
	archives := assert.Must(filepath.Glob(filepath.Join(os.Getenv("MASQ_DIST"), "*-linux-"+runtime.GOARCH+".tar")))(t)
	if len(archives) != 1 {
		t.Fatalf("$MASQ_DIST has %v: run the tests by make deploy", archives)
	}
	h.do("load", "--quiet", "--input", archives[0])
	return h
}

// try runs podman and returns its output.
func (h *host) try(args ...string) (string, error) {
	var out bytes.Buffer
	c := exec.Command("podman", append(slices.Clone(h.podman), args...)...)
	c.Env = append(os.Environ(), "CONTAINERS_CONF="+h.conf)
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("podman %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), err
}

func (h *host) do(args ...string) string {
	h.t.Helper()
	return assert.Must(h.try(args...))(h.t)
}

// start runs a container of the manifest as the kubelet would. If ends is true, it returns
// after the container has ended.
func (h *host) start(pod core.PodSpec, name string, ends bool) {
	h.t.Helper()
	list := slices.Concat(pod.InitContainers, pod.Containers)
	c := list[slices.IndexFunc(list, func(c core.Container) bool { return c.Name == name })]
	user := pod.SecurityContext
	args := []string{
		"run", "--name", name, "--network", "ns:" + h.ns.Path(), "--cgroup-parent", "/" + h.parent,
		"--log-driver", "k8s-file", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=1024:1024",
		"--user", fmt.Sprintf("%d:%d", *user.RunAsUser, *user.RunAsGroup),
		"--memory", fmt.Sprint(c.Resources.Limits.Memory().Value()),
	}
	if !ends {
		args = append(args, "--detach")
	}
	if s := c.SecurityContext; !*s.AllowPrivilegeEscalation && *s.ReadOnlyRootFilesystem {
		args = append(args, "--security-opt", "no-new-privileges", "--read-only", "--read-only-tmpfs=false")
	}
	for _, p := range c.SecurityContext.Capabilities.Drop {
		args = append(args, "--cap-drop", string(p))
	}
	for _, p := range c.SecurityContext.Capabilities.Add {
		args = append(args, "--cap-add", string(p))
	}
	for _, e := range c.Env {
		args = append(args, "--env", e.Name+"="+e.Value)
	}
	for _, m := range c.VolumeMounts {
		args = append(args, "--volume", h.volume(pod, m.Name)+":"+m.MountPath)
	}
	image := assert.Must(h.try("images", "--format", "{{.Repository}}:{{.Tag}}"))(h.t)
	args = append(args, "--entrypoint", c.Command[0], strings.TrimSpace(image))
	h.do(slices.Concat(args, c.Command[1:], c.Args)...)
}

// volume returns the host path of one of the pod's volumes.
func (h *host) volume(pod core.PodSpec, name string) string {
	h.t.Helper()
	v := pod.Volumes[slices.IndexFunc(pod.Volumes, func(v core.Volume) bool { return v.Name == name })]
	path := filepath.Join(h.dir, "configmap")
	if v.HostPath != nil {
		if path = v.HostPath.Path; !strings.HasPrefix(path, "/proc/") { // /proc of the namespace itself
			path = filepath.Join(h.dir, path)
		}
	}
	if _, err := os.Stat(path); err != nil {
		if v.HostPath != nil && *v.HostPath.Type != core.HostPathDirectoryOrCreate {
			h.t.Errorf("the node has no %s", path)
		}
		assert.NoError(h.t, os.MkdirAll(path, 0o755))
	}
	return path
}

// files returns the node's files with their content.
func (h *host) files() map[string]string {
	h.t.Helper()
	out := map[string]string{}
	assert.NoError(h.t, filepath.WalkDir(h.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var b []byte
			b, err = os.ReadFile(path)
			out[strings.TrimPrefix(path, h.dir)] = string(b)
		}
		return err
	}))
	return out
}

// Each container works with exactly the rights of the manifest, and its changes are undone
// completely.
func TestContainers(t *testing.T) {
	h := newHost(t)
	const file = "/etc/cni/net.d/10-net.conflist"
	assert.NoError(t, os.WriteFile(filepath.Join(h.dir, file), []byte(`{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "ptp", "ipam": {"type": "host-local"}}]}`), 0o600))
	before := h.files()
	assert.NoError(t, os.MkdirAll(filepath.Join(h.dir, "configmap"), 0o755))
	assert.NoError(t, os.WriteFile(filepath.Join(h.dir, "configmap/ip-masq-agent"), []byte("sourceCIDRs: [10.1.0.0/24]\n"), 0o600))

	pod := daemonSet(t, helm(t, "prepare.enabled=true")).Spec.Template.Spec
	h.start(pod, "prepare", true)
	for key, want := range map[string]string{"net.ipv4.ip_forward": "1", "net.netfilter.nf_conntrack_acct": "1"} {
		if got := assert.Must(h.ns.ReadSysctl(key))(t); got != want {
			t.Errorf("%s is %s", key, got)
		}
	}
	h.start(pod, "masqd", false)
	h.start(pod, "install", false)
	until(t, nil, func() string {
		if f := h.files(); f["/opt/cni/bin/masq"] == "" || !strings.Contains(f[file], `"type":"masq"`) {
			return "masq in the network"
		}
		return ""
	})
	if out := h.do("exec", "masqd", "/masq-cni", "inspect"); !strings.Contains(out, "sourceCIDRs") {
		t.Errorf("inspect prints\n%s", out)
	}
	if out := h.do("logs", "masqd") + h.do("logs", "install"); strings.Contains(out, "level=ERROR") || !strings.Contains(out, "masq inserted") {
		t.Errorf("the containers printed\n%s", out)
	}
	tables := func() string {
		return string(assert.Must(h.ns.Command(t.Context(), "nft", "list", "tables").Output())(t))
	}
	if !strings.Contains(tables(), "inet masq") {
		t.Error("the rules are missing")
	}
	h.do("stop", "--time", "10", "masqd", "install")
	for _, name := range []string{"masqd", "install"} {
		if code := strings.TrimSpace(h.do("inspect", "--format", "{{.State.ExitCode}}", name)); code != "0" {
			t.Errorf("%s ended with %s when it was told to", name, code)
		}
	}

	gone := daemonSet(t, helm(t, "uninstall=true")).Spec.Template.Spec
	h.start(gone, "uninstall", true)
	h.start(gone, "done", false)
	until(t, nil, func() string {
		if strings.Contains(h.do("logs", "done"), "nothing to remove") {
			return ""
		}
		return "second uninstall"
	})
	if state := strings.TrimSpace(h.do("inspect", "--format", "{{.State.Running}}", "done")); state != "true" {
		t.Errorf("the state of container done is %s", state)
	}
	h.do("stop", "--time", "10", "done")
	if code := strings.TrimSpace(h.do("inspect", "--format", "{{.State.ExitCode}}", "done")); code != "0" {
		t.Errorf("container done ended with %s after SIGTERM", code)
	}
	assert.NoError(t, os.RemoveAll(filepath.Join(h.dir, "configmap")))
	if after := h.files(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("before the node had %v, afterwards %v", before, after)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "run/masq-cni")); err == nil || tables() != "" {
		t.Errorf("/run/masq-cni or a table still exists: %s", tables())
	}
}
