package deploy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Commands of the pages refer to existing manifests, chart values, make targets, objects and
// verbs. test/kube runs the commands that need a cluster.
func TestDocumentedCommands(t *testing.T) {
	n := 0
	for _, page := range []string{"docs/kubernetes.md", "docs/monitoring.md"} {
		for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(read(t, page)), -1) {
			for line := range strings.Lines(block[1]) {
				n++
				if err := works(t, strings.Fields(line)); err != nil {
					t.Errorf("%s: %s: %v", page, strings.TrimSpace(line), err)
				}
			}
		}
	}
	if n == 0 {
		t.Error("the pages have no commands")
	}
}

// works checks a command.
func works(t *testing.T, line []string) error {
	t.Helper()
	switch command := strings.Join(line, " "); {
	case line[0] == "make":
		if !regexp.MustCompile(`(?m)^` + line[1] + `:`).Match(read(t, "Makefile")) {
			return fmt.Errorf("there is no target %s", line[1])
		}
		return nil
	case strings.HasPrefix(command, "ctr -n k8s.io images import "):
		// hack/image names the archives; TestVersions finds one.
		archives, err := filepath.Glob(filepath.Join(os.Getenv("MASQ_DIST"), filepath.Base(line[5])))
		if err == nil && len(archives) != 1 {
			err = fmt.Errorf("make image wrote %v", archives)
		}
		return err
	case line[0] == "sed":
		out, err := exec.CommandContext(t.Context(), "bash", "-c", "cd "+root+" && "+strings.TrimSuffix(command, "| kubectl apply -f -")).Output()
		if err != nil {
			return err
		}
		all, err := parse(out)
		if err != nil {
			return err
		}
		for _, c := range daemonSet(t, all).Spec.Template.Spec.Containers {
			if want := "registry.example.org/masq-cni:" + currentVersion(t); c.Image != want {
				return fmt.Errorf("%s has the image %s, not %s", c.Name, c.Image, want)
			}
		}
		return nil
	case line[0] == "helm" && line[1] == "uninstall":
		return nil
	case line[0] == "helm":
		var set []string
		for i, word := range line {
			if word == "--set" {
				set = append(set, line[i+1])
			}
		}
		if line[2] != "masq-cni" || filepath.Join(root, line[3]) != chart {
			return fmt.Errorf("it names %s in %s", line[2], line[3])
		}
		_, err := rendered(set...)
		return err
	case len(line) == 4 && slices.Contains([]string{"apply", "delete"}, line[1]) && line[2] == "-f":
		_, err := parse(read(t, line[3]))
		return err
	case len(line) == 4 && line[1] == "apply" && line[2] == "-k":
		_, err := tool("kustomize", "build", filepath.Join(root, line[3]))
		return err
	case strings.HasPrefix(command, "kubectl -n kube-system exec ds/masq-cni -- /masq-cni "):
		helpOf(t, "masq-cni", line[7:])
		return nil
	case command == "kubectl label namespace masq-system pod-security.kubernetes.io/enforce=privileged",
		command == "kubectl -n kube-system rollout status daemonset/masq-cni",
		command == "kubectl -n kube-system create configmap masq-cni-config --from-file=config=policy.yaml",
		command == "kubectl -n kube-system delete daemonset ip-masq-agent":
		return nil
	}
	return errors.New("nothing shows that it works; add it to test/deploy/docs_test.go")
}

// The table of options lists all overlays and their values.
func TestDocumentedOverlays(t *testing.T) {
	page := string(read(t, "docs/kubernetes.md"))
	for name, value := range components {
		if !strings.Contains(page, fmt.Sprintf("\n| `%s` | `%s` |", name, value)) {
			t.Errorf("docs/kubernetes.md has no overlay %s with %s", name, value)
		}
	}
}
