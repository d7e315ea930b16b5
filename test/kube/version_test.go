package kube

import "testing"

// version is a version of Kubernetes and its container runtime.
type version struct {
	kube       string // version for hack/kube-build
	containerd string // directory of its programs
	conf       string // configuration of containerd
	cni        string // newest cniVersion that it supports
	whole      bool   // all steps, or only steps that depend on the version
}

// Without CAP_SYS_RESOURCE no process may have a lower oom_score_adj than containerd. Without
// AppArmor in the kernel there is no profile.
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
