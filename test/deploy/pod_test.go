package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"

	"github.com/masq-cni/masq-cni/test/assert"
)

// With any values, the pod has only the rights that it needs.
func TestRights(t *testing.T) {
	var everything []string
	for _, value := range components {
		if !strings.HasPrefix(value, "mode=") {
			everything = append(everything, value)
		}
	}
	allowed := map[string][]core.Capability{"masqd": {"NET_ADMIN"}, "install": nil, "prepare": {"NET_ADMIN", "SYS_MODULE"}, "uninstall": {"NET_ADMIN"}, "done": {"NET_ADMIN"}}
	seen := map[string]bool{}
	for _, set := range [][]string{nil, {"uninstall=true"}, {"mode=network"}, append(everything, "mode=network"), append(everything, "mode=none")} {
		all := helm(t, set...)
		ds := daemonSet(t, all)
		pod := ds.Spec.Template.Spec
		if ds.Name != "masq-cni" || ds.Namespace != "kube-system" || ds.Spec.Selector.MatchLabels["app.kubernetes.io/name"] != "masq-cni" {
			t.Errorf("%v: it is %s/%s of %v", set, ds.Namespace, ds.Name, ds.Spec.Selector)
		}
		if !pod.HostNetwork || pod.HostPID || pod.HostIPC || pod.PriorityClassName != "system-node-critical" || pod.NodeSelector["kubernetes.io/os"] != "linux" ||
			len(pod.Tolerations) != 1 || pod.Tolerations[0] != (core.Toleration{Operator: core.TolerationOpExists}) ||
			ds.Spec.UpdateStrategy.Type != "RollingUpdate" || *pod.AutomountServiceAccountToken ||
			pod.SecurityContext.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%v: the pod is %+v", set, pod)
		}
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			seen[c.Name] = true
			s := c.SecurityContext
			if s.Privileged != nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) {
				t.Errorf("%v: %s has %+v", set, c.Name, s)
			}
			if want, known := allowed[c.Name]; !known || !slices.Equal(s.Capabilities.Add, want) {
				t.Errorf("%v: %s has the capabilities %v", set, c.Name, s.Capabilities.Add)
			}
			if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%v: %s has %+v", set, c.Name, c.Resources)
			}
			for _, m := range c.VolumeMounts {
				if m.Name == "api-access" && c.Name != "install" {
					t.Errorf("%v: %s has a token", set, c.Name)
				}
			}
		}
		network, objects := slices.Contains(set, "mode=network"), len(all)
		if network != (objects == 4) || !network && objects != 1 {
			t.Errorf("%v: there are %d objects", set, objects)
		}
	}
	if len(seen) != len(allowed) {
		t.Errorf("saw only %v", seen)
	}
}

// The programs accept the flags and variables of the containers.
func TestFlagsAreKnown(t *testing.T) {
	for _, set := range [][]string{
		nil, {"uninstall=true"}, {"mode=network"}, {"mode=network", "podCIDRs={10.1.0.0/24}", "metrics.webConfigSecret=masqd-web", "natLog.enabled=true", "prepare.enabled=true", `pluginConfig={"toPorts":"20000-29999"}`},
	} {
		pod := daemonSet(t, helm(t, set...)).Spec.Template.Spec
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			if dir := filepath.Dir(c.Command[0]); dir != "/" {
				t.Errorf("%s runs %s", c.Name, c.Command[0])
			}
			args := slices.Concat(c.Command[1:], c.Args)
			help := helpOf(t, filepath.Base(c.Command[0]), args)
			for _, a := range args {
				if name, _, _ := strings.Cut(a, "="); strings.HasPrefix(name, "--") && !slices.Contains(help, name) {
					t.Errorf("%v: %s has no %s; it has %v", set, c.Name, name, help)
				}
			}
			for _, e := range c.Env {
				flag, ours := strings.CutPrefix(e.Name, "MASQD_")
				variable := func(name string) bool {
					return strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToUpper(name)) == "__"+flag
				}
				if ours && !slices.ContainsFunc(help, variable) {
					t.Errorf("%v: %s has no flag for %s", set, c.Name, e.Name)
				}
			}
		}
	}
}

// helpOf returns the flags of a program's command.
func helpOf(t *testing.T, program string, args []string) (flags []string) {
	t.Helper()
	line := []string{"--help"}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		line = []string{args[0], "--help"}
	}
	out := assert.Must(exec.Command(filepath.Join(os.Getenv("MASQ_BIN"), program), line...).Output())(t)
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[\w.-]+)`).FindAllStringSubmatch(string(out), -1) {
		flags = append(flags, m[1])
	}
	return flags
}
