package deploy

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/masq-cni/masq-cni/test/assert"
)

const (
	version = "1.2.3-test"
	commit  = "0123456789abcdef0123456789abcdef01234567"
	// made is the build date of the images.
	made = "1700000000"
)

// checkoutOf copies the files of the checkout that releases are made of, as another version.
func checkoutOf(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"Dockerfile", ".dockerignore", "LICENSE", "go.mod", "go.sum", "cmd", "pkg", "plugins", "deploy", "test/nstest", "hack"} {
		from := filepath.Join(root, name)
		if assert.Must(os.Stat(from))(t).IsDir() {
			assert.NoError(t, os.CopyFS(filepath.Join(dir, name), os.DirFS(from)))
			continue
		}
		assert.NoError(t, os.MkdirAll(dir, 0o755))
		assert.NoError(t, os.WriteFile(filepath.Join(dir, name), assert.Must(os.ReadFile(from))(t), 0o644))
	}
	for _, name := range []string{"VERSION", "CHANGELOG.md", "deploy/helm/masq-cni/Chart.yaml", "deploy/masq-cni.yaml", "deploy/uninstall.yaml"} {
		text := strings.ReplaceAll(string(read(t, name)), currentVersion(t), version)
		assert.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
}

// buildIn runs hack/image or hack/release in a copy of the checkout, and returns dist/
// there. env begins with the umask.
func buildIn(t *testing.T, dir, script string, args []string, env ...string) string {
	t.Helper()
	checkoutOf(t, dir)
	c := exec.CommandContext(t.Context(), "bash", append([]string{"-c", "umask " + env[0] + `; exec "$0" "$@"`, script}, args...)...)
	c.Dir = dir
	c.Env = append(os.Environ(), append(env[1:], "COMMIT="+commit, "SOURCE_DATE_EPOCH="+made)...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return filepath.Join(dir, "dist")
}

// Two builds are identical: in different directories, by users with different settings, one
// with an empty build cache. They contain what was requested.
func TestRelease(t *testing.T) {
	dir := t.TempDir()
	one := buildIn(t, filepath.Join(dir, "one"), "hack/release", nil, "022", "TZ=UTC")
	other := buildIn(t, filepath.Join(dir, "another", "place"), "hack/release", nil, "077", "TZ=Asia/Tokyo", "LC_ALL=C", "GOCACHE="+filepath.Join(dir, "cache"))
	all, again := sums(t, one), sums(t, other)
	for name, sum := range all {
		if sum != again[name] {
			t.Errorf("two builds of %s differ", name)
		}
	}
	if len(all) != len(again) {
		t.Errorf("two builds have different files: %v, %v", slices.Sorted(maps.Keys(all)), slices.Sorted(maps.Keys(again)))
	}

	index := ociIndex(t, filepath.Join(one, "masq-cni-"+version+".oci.tar"))
	manifest := assert.Must(index.IndexManifest())(t)
	if len(manifest.Manifests) != 2 {
		t.Fatalf("the index is %+v", manifest)
	}
	for _, m := range manifest.Manifests {
		arch := m.Platform.Architecture
		t.Run(arch, func(t *testing.T) {
			image := assert.Must(index.Image(m.Digest))(t)
			isOurs(t, image, arch)
			// The archive to load has the same image.
			name := fmt.Sprintf("masq-cni-%s-linux-%s", version, arch)
			loaded := assert.Must(tarball.ImageFromPath(filepath.Join(one, name+".tar"), nil))(t)
			if a, b := assert.Must(image.ConfigName())(t), assert.Must(loaded.ConfigName())(t); a != b {
				t.Errorf("the archive has the image %s, the index %s", b, a)
			}
			if tags := repoTags(t, filepath.Join(one, name+".tar")); !slices.Equal(tags, []string{repository + ":" + version}) {
				t.Errorf("the archive names the image %v", tags)
			}
			files := filesOf(t, image)
			wantBill(t, files, assert.Must(os.ReadFile(filepath.Join(one, name+".cdx.json")))(t))
		})
	}
}

// With a registry's repository as its name, the image is pushed there for each platform, with
// the version as its tag. A name with a tag is refused.
func TestImagePush(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	mine := strings.TrimPrefix(server.URL, "http://") + "/infra/masq-cni"
	dist := buildIn(t, t.TempDir(), "hack/image", []string{mine, "--push", "--tls-verify=false"}, "022")

	get := func(path string) io.Reader {
		t.Helper()
		answer := assert.Must(http.Get(server.URL + "/v2/infra/masq-cni/" + path))(t)
		defer closing(answer.Body)
		return bytes.NewReader(assert.Must(io.ReadAll(answer.Body))(t))
	}
	var platforms []string
	for _, m := range assert.Must(v1.ParseIndexManifest(get("manifests/" + version)))(t).Manifests {
		image := assert.Must(v1.ParseManifest(get("manifests/" + m.Digest.String())))(t)
		config := assert.Must(v1.ParseConfigFile(get("blobs/" + image.Config.Digest.String())))(t)
		platforms = append(platforms, m.Platform.Architecture)
		if got := config.Config.Labels["org.opencontainers.image.version"]; got != version || config.Architecture != m.Platform.Architecture {
			t.Errorf("the image for %s has %s of %s", m.Platform.Architecture, got, config.Architecture)
		}
	}
	if slices.Sort(platforms); !slices.Equal(platforms, []string{"amd64", "arm64"}) {
		t.Errorf("the registry has images for %v", platforms)
	}
	if tags := repoTags(t, filepath.Join(dist, "masq-cni-"+version+"-linux-amd64.tar")); !slices.Equal(tags, []string{mine + ":" + version}) {
		t.Errorf("the archive names the image %v", tags)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(root, "hack/image"), mine+":latest").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "give the name without it") {
		t.Errorf("a name with a tag gives %v: %s", err, out)
	}
}

// repoTags returns the names of the images in an archive.
func repoTags(t *testing.T, archive string) (out []string) {
	t.Helper()
	for _, image := range assert.Must(tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(archive) }))(t) {
		out = append(out, image.RepoTags...)
	}
	return out
}

// ociIndex reads the archive of all platforms.
func ociIndex(t *testing.T, archive string) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	assert.NoError(t, exec.Command("tar", "-C", dir, "-xf", archive).Run())
	path := assert.Must(layout.FromPath(dir))(t)
	top := assert.Must(assert.Must(path.ImageIndex())(t).IndexManifest())(t)
	// containerd imports the image by this name.
	if len(top.Manifests) != 1 || top.Manifests[0].Annotations["io.containerd.image.name"] != repository+":"+version {
		t.Errorf("the index lists %+v", top.Manifests)
	}
	return assert.Must(assert.Must(path.ImageIndex())(t).ImageIndex(top.Manifests[0].Digest))(t)
}

func isOurs(t *testing.T, image v1.Image, arch string) {
	t.Helper()
	config := assert.Must(image.ConfigFile())(t)
	if config.OS != "linux" || config.Architecture != arch || fmt.Sprint(config.Created.Unix()) != made || !slices.Equal(config.Config.Entrypoint, []string{"/masqd"}) {
		t.Errorf("the image of %s has the configuration %+v", arch, config)
	}
	for label, want := range map[string]string{
		"version": version, "revision": commit, "licenses": "Apache-2.0", "source": "https://github.com/masq-cni/masq-cni",
	} {
		if got := config.Config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("label %s is %q, not %q", label, got, want)
		}
	}
}

// file is a file of an image.
type file struct {
	mode    int64
	content []byte
}

func filesOf(t *testing.T, image v1.Image) map[string]file {
	t.Helper()
	flat := mutate.Extract(image)
	defer closing(flat)
	out := map[string]file{}
	for r := tar.NewReader(flat); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		assert.NoError(t, err)
		if h.Uid != 0 || h.Gid != 0 || h.Typeflag != tar.TypeReg {
			t.Errorf("%s is %+v", h.Name, h)
		}
		out[h.Name] = file{h.Mode & 0o7777, assert.Must(io.ReadAll(r))(t)}
	}
	if names := slices.Sorted(maps.Keys(out)); !slices.Equal(names, []string{"masq", "masq-cni", "masqd", "sbom.cdx.json"}) {
		t.Errorf("the image has the files %v", names)
	}
	return out
}

// wantBill checks that the bill of materials, in the image and as a separate file, lists the
// modules of the programs.
func wantBill(t *testing.T, files map[string]file, separate []byte) {
	t.Helper()
	if !bytes.Equal(files["sbom.cdx.json"].content, separate) {
		t.Error("the bill of materials in the image differs from the separate file")
	}
	var bill cyclonedx.BOM
	assert.NoError(t, cyclonedx.NewBOMDecoder(bytes.NewReader(separate), cyclonedx.BOMFileFormatJSON).Decode(&bill))
	has := map[string]cyclonedx.Component{}
	for _, c := range *bill.Components {
		has[c.BOMRef] = c
	}
	needs := map[string][]string{}
	for _, d := range *bill.Dependencies {
		needs[d.Ref] = *d.Dependencies
	}
	used := map[string]bool{}
	for _, name := range []string{"masq", "masqd", "masq-cni"} {
		f := files[name]
		if f.mode != 0o755 {
			t.Errorf("%s has mode %o", name, f.mode)
		}
		if bytes.Contains(f.content, []byte("TestRelease")) { // the name of the build directory
			t.Errorf("%s knows where it was built", name)
		}
		info := assert.Must(buildinfo.Read(bytes.NewReader(f.content)))(t)
		sum := sha256.Sum256(f.content)
		if c := has[name]; c.Version != version || c.Hashes == nil || (*c.Hashes)[0].Value != hex.EncodeToString(sum[:]) {
			t.Errorf("the entry of %s is %+v", name, c)
		}
		want := []string{"pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")}
		for _, d := range info.Deps {
			want = append(want, "pkg:golang/"+d.Path+"@"+strings.ReplaceAll(d.Version, "+", "%2B"))
		}
		slices.Sort(want)
		if !slices.Equal(needs[name], want) {
			t.Errorf("%s is made of %v, and it says %v", name, want, needs[name])
		}
		for _, ref := range want {
			if used[ref] = true; has[ref].PackageURL != ref {
				t.Errorf("the bill of materials lacks %s", ref)
			}
		}
	}
	if len(has) != len(used)+3 {
		t.Errorf("the bill of materials has %d components, and the programs consist of %d", len(has), len(used))
	}
}
