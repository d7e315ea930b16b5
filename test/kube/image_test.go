package kube

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// podImage is the image of the tests' pods and of their sandboxes.
const podImage = "masq-cni.test/pod:1"

// podArchive writes the image of the pods as an archive.
func (c *cluster) podArchive(t testing.TB) string {
	return c.archive(t, podImage, filepath.Join(needed(t, "MASQ_KUBE"), "pod"))
}

// archive packs programs into an image, as `docker save` would. The image runs the first.
func (r *room) archive(t testing.TB, name string, programs ...string) string {
	t.Helper()
	first := filepath.Base(programs[0])
	path := filepath.Join(r.dir, first+".tar")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	files := map[string][]byte{}
	for _, program := range programs {
		files[filepath.Base(program)] = assert.Must(os.ReadFile(program))(t)
	}
	layer := tarOf(t, 0o755, files)
	config := text(t, object{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": object{"Entrypoint": []string{"/" + first}, "Cmd": []string{"pause"}},
		"rootfs": object{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	manifest := text(t, []any{object{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	image := tarOf(t, 0o644, map[string][]byte{"config.json": []byte(config), "layer.tar": layer, "manifest.json": []byte(manifest)})
	assert.NoError(t, os.WriteFile(path, image, 0o644))
	return path
}

// tarOf returns an archive of files.
func tarOf(t testing.TB, mode int64, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		assert.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))}))
		assert.Must(w.Write(content))(t)
	}
	assert.NoError(t, w.Close())
	return b.Bytes()
}
