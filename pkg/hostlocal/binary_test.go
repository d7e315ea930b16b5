package hostlocal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

const (
	pluginsModule  = "github.com/containernetworking/plugins"
	pluginsVersion = "v1.9.1"
	pluginsSums    = pluginsModule + " " + pluginsVersion + " h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA=\n" +
		pluginsModule + " " + pluginsVersion + "/go.mod h1:fj7kS55qg3o/RgS+WGsF3+ZxwIImMPusQZKzBpcSr4c=\n"
)

// binary is the host-local program.
type binary string

// hostLocal returns the program that the Makefile built: tests that run as root have no
// module cache. Otherwise it builds the program in a separate module, so that our module
// does not get its dependencies.
func hostLocal(t testing.TB) binary {
	t.Helper()
	if built := filepath.Join(os.Getenv("MASQ_PEERS"), "host-local"); filepath.IsAbs(built) {
		if _, err := os.Stat(built); err == nil {
			return binary(built)
		}
	}
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) []byte {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
		}
		return out
	}
	write("go.mod", "module build\n\ngo 1.26.0\n\nrequire "+pluginsModule+" "+pluginsVersion+"\n")
	write("go.sum", pluginsSums)
	var module struct{ Dir string }
	if err := json.Unmarshal(run("mod", "download", "-json", pluginsModule), &module); err != nil {
		t.Fatal(err)
	}
	// The module contains the checksums of its dependencies.
	sums, err := os.ReadFile(filepath.Join(module.Dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	write("go.sum", pluginsSums+string(sums))
	run("build", "-o", "host-local", pluginsModule+"/plugins/ipam/host-local")
	return binary(filepath.Join(dir, "host-local"))
}

// call runs host-local for a CNI verb, and returns its output.
func (b binary) call(verb string, stdin []byte, args string, h holder) ([]byte, error) {
	cmd := exec.Command(string(b))
	// With the override the program does not open the namespace.
	cmd.Env = []string{
		"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + h.containerID, "CNI_IFNAME=" + h.ifname,
		"CNI_ARGS=" + args, "CNI_NETNS=/none", "CNI_NETNS_OVERRIDE=1", "CNI_PATH=/none",
	}
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("host-local %s: %w: %s", verb, err, out)
	}
	return out, nil
}

func (b binary) add(stdin []byte, args string, h holder) (*types100.Result, error) {
	out, err := b.call("ADD", stdin, args, h)
	if err != nil {
		return nil, err
	}
	r := new(types100.Result)
	return r, json.Unmarshal(out, r)
}

func (b binary) del(stdin []byte, args string, h holder) error {
	_, err := b.call("DEL", stdin, args, h)
	return err
}

// files returns the files of a directory with their contents, for comparison.
func files(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s: %q", e.Name(), b))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// text returns a result as host-local prints it.
func text(t testing.TB, r *types100.Result) string {
	t.Helper()
	if r == nil {
		return "none"
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
