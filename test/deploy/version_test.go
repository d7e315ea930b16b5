package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	"go.yaml.in/yaml/v4"

	"github.com/masq-cni/masq-cni/test/assert"
)

// Programs, chart, manifests, the newest section of CHANGELOG.md, and the image of make
// release with its bill of materials have the version of the file VERSION. The names of the
// release's files contain it.
func TestVersions(t *testing.T) {
	want := currentVersion(t)
	if !regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`).MatchString(want) {
		t.Fatalf("VERSION is %q, want a semantic version", want)
	}
	for _, name := range []string{"masq", "masqd", "masq-cni", "kubectl-masq"} {
		args := []string{"--version"}
		if name == "masq" { // a CNI plugin prints it when it is called without CNI_COMMAND
			args = nil
		}
		out := assert.Must(exec.CommandContext(t.Context(), program(name), args...).CombinedOutput())(t)
		if !strings.Contains(string(out), " "+want+" (") {
			t.Errorf("%s is built as %s, not as %s", name, out, want)
		}
	}

	released := regexp.MustCompile(`(?m)^## \[(\d.*?)\] - \d{4}-\d\d-\d\d$`).FindSubmatch(read(t, "CHANGELOG.md"))
	if released == nil || string(released[1]) != want {
		t.Errorf("the newest section of CHANGELOG.md is %q, want %s", released, want)
	}

	var of struct {
		Version    string
		AppVersion string `yaml:"appVersion"`
	}
	assert.NoError(t, yaml.Unmarshal(read(t, "deploy/helm/masq-cni/Chart.yaml"), &of))
	if of.Version != want || of.AppVersion != want {
		t.Errorf("the chart has version %s and appVersion %s, not %s", of.Version, of.AppVersion, want)
	}

	image := repository + ":" + want
	manifests := map[string][]object{"chart": helm(t), "chart, uninstall": helm(t, "uninstall=true"), "chart, prepare": helm(t, "prepare.enabled=true")}
	for _, name := range []string{"deploy/masq-cni.yaml", "deploy/uninstall.yaml"} {
		manifests[name] = assert.Must(parse(read(t, name)))(t)
	}
	for _, name := range assert.Must(filepath.Glob(root + "/deploy/kustomize/overlays/*"))(t) {
		manifests[name] = kustomize(t, name)
	}
	for name, all := range manifests {
		pod := daemonSet(t, all).Spec.Template.Spec
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			if c.Image != image || c.ImagePullPolicy != "IfNotPresent" {
				t.Errorf("%s: %s has the image %s, pulled %s; want %s, pulled IfNotPresent", name, c.Name, c.Image, c.ImagePullPolicy, image)
			}
		}
	}

	archive := filepath.Join(os.Getenv("MASQ_DIST"), "masq-cni-"+want+"-linux-amd64.tar")
	if has := repoTags(t, archive); !slices.Equal(has, []string{image}) {
		t.Errorf("%s is called %v, not %s: run make image", archive, has, image)
	}
	var bill cyclonedx.BOM
	text := assert.Must(os.Open(strings.TrimSuffix(archive, ".tar") + ".cdx.json"))(t)
	defer closing(text)
	assert.NoError(t, cyclonedx.NewBOMDecoder(text, cyclonedx.BOMFileFormatJSON).Decode(&bill))
	if got := bill.Metadata.Component.Version; got != want {
		t.Errorf("the bill of materials has version %s, want %s", got, want)
	}
}
