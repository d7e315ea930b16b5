package kube

import "testing"

// version is a Kubernetes and the runtime beneath it.
type version struct {
	kube       string // as hack/kube-build knows it
	containerd string // the directory of its programs
	conf       string // of containerd
	cni        string // the newest cniVersion that it speaks
	whole      bool   // or what may depend on the version
}

// Without CAP_SYS_RESOURCE nothing may be made less likely to be killed for memory
// than containerd itself; without AppArmor in the kernel there is no profile.
func versions(t testing.TB) []version {
	t.Helper()
	return []version{
		{kube: "1.34", containerd: "/usr/bin", cni: "1.0.0", whole: true, conf: `version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "` + podImage + `"
disable_apparmor = true
restrict_oom_score_adj = true
`},
		{kube: "1.37", containerd: needed(t, "MASQ_CONTAINERD2"), cni: "1.1.0", conf: `version = 3
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "` + podImage + `"
[plugins."io.containerd.cri.v1.runtime"]
disable_apparmor = true
restrict_oom_score_adj = true
`},
	}
}
