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
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	version = "1.2.3-test"
	commit  = "0123456789abcdef0123456789abcdef01234567"
	// made is when the images are said to be of.
	made = "1700000000"
)

// imageOf builds the image in a copy of the checkout, and returns dist/ there.
func imageOf(t *testing.T, dir string, env ...string) string {
	t.Helper()
	for _, name := range []string{"Dockerfile", ".dockerignore", "go.mod", "go.sum", "cmd", "pkg", "plugins", "test/nstest", "hack"} {
		from := filepath.Join(root, name)
		if must(os.Stat(from))(t).IsDir() {
			check(t, os.CopyFS(filepath.Join(dir, name), os.DirFS(from)))
			continue
		}
		check(t, os.MkdirAll(dir, 0o755))
		check(t, os.WriteFile(filepath.Join(dir, name), must(os.ReadFile(from))(t), 0o644))
	}
	c := exec.CommandContext(t.Context(), "bash", "-c", "umask "+env[0]+"; exec hack/image")
	c.Dir = dir
	c.Env = append(os.Environ(), append(env[1:], "VERSION="+version, "COMMIT="+commit, "SOURCE_DATE_EPOCH="+made)...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("hack/image: %v\n%s", err, out)
	}
	return filepath.Join(dir, "dist")
}

// Two builds, in different directories, by users with different settings, and one of
// them with nothing compiled before, are the same bytes, and of what was asked for.
func TestImage(t *testing.T) {
	dir := t.TempDir()
	one := imageOf(t, filepath.Join(dir, "one"), "022", "TZ=UTC")
	other := imageOf(t, filepath.Join(dir, "another", "place"), "077", "TZ=Asia/Tokyo", "LC_ALL=C", "GOCACHE="+filepath.Join(dir, "cache"))
	sums := must(os.ReadFile(filepath.Join(one, "SHA256SUMS")))(t)
	if again := must(os.ReadFile(filepath.Join(other, "SHA256SUMS")))(t); !bytes.Equal(sums, again) {
		t.Errorf("two builds differ:\n%s\n%s", sums, again)
	}
	if n := bytes.Count(sums, []byte("\n")); n != 5 {
		t.Errorf("there are %d files:\n%s", n, sums)
	}

	index := ociIndex(t, filepath.Join(one, "masq-cni-"+version+".oci.tar"))
	manifest := must(index.IndexManifest())(t)
	if len(manifest.Manifests) != 2 {
		t.Fatalf("the index is %+v", manifest)
	}
	for _, m := range manifest.Manifests {
		arch := m.Platform.Architecture
		t.Run(arch, func(t *testing.T) {
			image := must(index.Image(m.Digest))(t)
			isOurs(t, image, arch)
			// The archive to load has the same image.
			name := fmt.Sprintf("masq-cni-%s-linux-%s", version, arch)
			loaded := must(tarball.ImageFromPath(filepath.Join(one, name+".tar"), nil))(t)
			if a, b := must(image.ConfigName())(t), must(loaded.ConfigName())(t); a != b {
				t.Errorf("the archive has the image %s, the index %s", b, a)
			}
			tags := must(tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(filepath.Join(one, name+".tar")) }))(t)
			if want := []string{"ghcr.io/masq-cni/masq-cni:" + version}; len(tags) != 1 || !slices.Equal(tags[0].RepoTags, want) {
				t.Errorf("the archive is called %+v", tags)
			}
			files := filesOf(t, image)
			tells(t, files, must(os.ReadFile(filepath.Join(one, name+".cdx.json")))(t))
		})
	}
}

// ociIndex reads the archive of all platforms.
func ociIndex(t *testing.T, archive string) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	check(t, exec.Command("tar", "-C", dir, "-xf", archive).Run())
	path := must(layout.FromPath(dir))(t)
	top := must(must(path.ImageIndex())(t).IndexManifest())(t)
	// By this name containerd imports it.
	if len(top.Manifests) != 1 || top.Manifests[0].Annotations["io.containerd.image.name"] != "ghcr.io/masq-cni/masq-cni:"+version {
		t.Errorf("the layout has %+v", top.Manifests)
	}
	return must(must(path.ImageIndex())(t).ImageIndex(top.Manifests[0].Digest))(t)
}

func isOurs(t *testing.T, image v1.Image, arch string) {
	t.Helper()
	config := must(image.ConfigFile())(t)
	if config.OS != "linux" || config.Architecture != arch || fmt.Sprint(config.Created.Unix()) != made || !slices.Equal(config.Config.Entrypoint, []string{"/masqd"}) {
		t.Errorf("it is %+v", config)
	}
	for label, want := range map[string]string{
		"version": version, "revision": commit, "licenses": "Apache-2.0", "source": "https://github.com/masq-cni/masq-cni",
	} {
		if got := config.Config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("label %s is %q, not %q", label, got, want)
		}
	}
}

// file is one of an image.
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
		check(t, err)
		if h.Uid != 0 || h.Gid != 0 || h.Typeflag != tar.TypeReg {
			t.Errorf("%s is %+v", h.Name, h)
		}
		out[h.Name] = file{h.Mode & 0o7777, must(io.ReadAll(r))(t)}
	}
	if names := slices.Sorted(maps.Keys(out)); !slices.Equal(names, []string{"masq", "masq-cni", "masqd", "sbom.cdx.json"}) {
		t.Errorf("it has %v", names)
	}
	return out
}

// tells checks that the bill of materials, the same within the image and beside it,
// has what is in the programs.
func tells(t *testing.T, files map[string]file, beside []byte) {
	t.Helper()
	if !bytes.Equal(files["sbom.cdx.json"].content, beside) {
		t.Error("the bill of materials in the image is another than the one beside it")
	}
	var bill cyclonedx.BOM
	check(t, cyclonedx.NewBOMDecoder(bytes.NewReader(beside), cyclonedx.BOMFileFormatJSON).Decode(&bill))
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
		if bytes.Contains(f.content, []byte("TestImage")) { // of the directory's name
			t.Errorf("%s knows where it was built", name)
		}
		info := must(buildinfo.Read(bytes.NewReader(f.content)))(t)
		sum := sha256.Sum256(f.content)
		if c := has[name]; c.Version != version || c.Hashes == nil || (*c.Hashes)[0].Value != hex.EncodeToString(sum[:]) {
			t.Errorf("of %s it says %+v", name, c)
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
				t.Errorf("it lacks %s", ref)
			}
		}
	}
	if len(has) != len(used)+3 {
		t.Errorf("it has %d components, and the programs are %d modules", len(has), len(used))
	}
}
