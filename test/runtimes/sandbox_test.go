package runtimes

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/masq-cni/masq-cni/test/assert"
)

// sandbox is a pod sandbox as the kubelet makes it.
type sandbox struct {
	c      *containerd
	id     string
	config *runtimeapi.PodSandboxConfig
	// container runs pod without arguments, for exec.
	container string
	addrs     []netip.Addr
}

// sandbox makes a pod with one container. Annotations come as name and value.
func (c *containerd) sandbox(name string, annotations ...string) *sandbox {
	c.t.Helper()
	s, err := c.trySandbox(name, "", annotations...)
	if err != nil {
		c.t.Fatalf("pod %s: %v", name, err)
	}
	s.container = s.start("wait")
	r := assert.Must(c.cri.PodSandboxStatus(soon(c.t), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: s.id}))(c.t)
	s.addrs = append(s.addrs, assert.Must(netip.ParseAddr(r.GetStatus().GetNetwork().GetIp()))(c.t))
	for _, ip := range r.GetStatus().GetNetwork().GetAdditionalIps() {
		s.addrs = append(s.addrs, assert.Must(netip.ParseAddr(ip.GetIp()))(c.t))
	}
	return s
}

// trySandbox makes a pod without containers, with a runtime handler or the default.
func (c *containerd) trySandbox(name, handler string, annotations ...string) (*sandbox, error) {
	s := &sandbox{c: c, config: &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "shop", Uid: "uid-of-" + name},
		Linux:    &runtimeapi.LinuxPodSandboxConfig{CgroupParent: "/pods"},
	}}
	for pair := range slices.Chunk(annotations, 2) {
		s.config.Annotations = map[string]string{pair[0]: pair[1]}
	}
	r, err := c.cri.RunPodSandbox(soon(c.t), &runtimeapi.RunPodSandboxRequest{Config: s.config, RuntimeHandler: handler})
	s.id = r.GetPodSandboxId()
	return s, err
}

// start starts a container that runs pod.
func (s *sandbox) start(name string, args ...string) (id string) {
	t := s.c.t
	t.Helper()
	made := assert.Must(s.c.cri.CreateContainer(soon(t), &runtimeapi.CreateContainerRequest{
		PodSandboxId: s.id, SandboxConfig: s.config,
		Config: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: name},
			Image:    &runtimeapi.ImageSpec{Image: image},
			Args:     args,
			Linux:    &runtimeapi.LinuxContainerConfig{},
		},
	}))(t)
	_ = assert.Must(s.c.cri.StartContainer(soon(t), &runtimeapi.StartContainerRequest{ContainerId: made.GetContainerId()}))(t)
	return made.GetContainerId()
}

// exec runs pod in the container.
func (s *sandbox) exec(args ...string) {
	t := s.c.t
	t.Helper()
	r := assert.Must(s.c.cri.ExecSync(soon(t), &runtimeapi.ExecSyncRequest{
		ContainerId: s.container, Cmd: append([]string{"/pod"}, args...), Timeout: 20,
	}))(t)
	if r.GetExitCode() != 0 {
		t.Fatalf("pod %v: %s%s", args, r.GetStdout(), r.GetStderr())
	}
}

// remove removes a pod as the kubelet does: it retries until it succeeds.
func (s *sandbox) remove() {
	s.c.t.Helper()
	eventually(s.c.t, func() error {
		_, err := s.c.cri.StopPodSandbox(soon(s.c.t), &runtimeapi.StopPodSandboxRequest{PodSandboxId: s.id})
		if err == nil {
			_, err = s.c.cri.RemovePodSandbox(soon(s.c.t), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: s.id})
		}
		return err
	})
}

// details are containerd's verbose status of a sandbox or a container.
type details struct {
	Pid         int
	RuntimeSpec struct {
		Linux struct {
			Namespaces []struct{ Type, Path string }
		}
	}
}

func detailsOf(t testing.TB, info map[string]string) (d details) {
	t.Helper()
	assert.NoError(t, json.Unmarshal([]byte(info["info"]), &d))
	return d
}

func (s *sandbox) details() details {
	s.c.t.Helper()
	r := assert.Must(s.c.cri.PodSandboxStatus(soon(s.c.t), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: s.id, Verbose: true}))(s.c.t)
	return detailsOf(s.c.t, r.GetInfo())
}

// pids returns the process IDs of the container's first process and of the sandbox.
func (s *sandbox) pids() string {
	s.c.t.Helper()
	r := assert.Must(s.c.cri.ContainerStatus(soon(s.c.t), &runtimeapi.ContainerStatusRequest{ContainerId: s.container, Verbose: true}))(s.c.t)
	return fmt.Sprint(detailsOf(s.c.t, r.GetInfo()).Pid, " ", s.details().Pid)
}

// netns returns the file of its network namespace.
func (s *sandbox) netns() string {
	s.c.t.Helper()
	for _, n := range s.details().RuntimeSpec.Linux.Namespaces {
		if n.Type == "network" {
			return n.Path
		}
	}
	s.c.t.Fatalf("containerd does not report the network namespace of %s", s.id)
	return ""
}

// dies waits until containerd reports that it ended.
func (s *sandbox) dies() {
	s.c.t.Helper()
	until(s.c.t, "containerd knows that "+s.config.GetMetadata().GetName()+" ended", func() bool {
		r := assert.Must(s.c.cri.PodSandboxStatus(soon(s.c.t), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: s.id}))(s.c.t)
		return r.GetStatus().GetState() == runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	})
}
