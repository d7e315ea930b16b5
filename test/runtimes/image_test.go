package runtimes

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/masq-cni/masq-cni/test/assert"
)

// image is the reference of the image of all containers, including sandboxes.
const image = "localhost/masq/pod:1"

// packImage writes an archive of an image that contains only the program $MASQ_POD.
func packImage(t testing.TB, to string) {
	t.Helper()
	program := assert.Must(os.ReadFile(built(t, "MASQ_POD")))(t)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	assert.NoError(t, w.WriteHeader(&tar.Header{Name: "pod", Mode: 0o755, Size: int64(len(program))}))
	_ = assert.Must(w.Write(program))(t)
	assert.NoError(t, w.Close())
	layer := assert.Must(tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	}))(t)
	img := assert.Must(mutate.AppendLayers(empty.Image, layer))(t)
	img = assert.Must(mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH,
		RootFS:  assert.Must(img.ConfigFile())(t).RootFS,
		Config:  v1.Config{Entrypoint: []string{"/pod"}},
		History: assert.Must(img.ConfigFile())(t).History,
	}))(t)
	assert.NoError(t, tarball.WriteToFile(to, assert.Must(name.NewTag(image))(t), img))
}

// built returns the value of a variable that the Makefile sets after building.
func built(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s is not set: run the tests by make runtimes", variable)
	}
	return path
}
