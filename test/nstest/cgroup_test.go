package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

func TestSweepCgroupsOfTheDead(t *testing.T) {
	gone := exec.Command("true")
	assert.NoError(t, gone.Run())
	hierarchy := cgroupRoot // of version 2
	if parts := assert.Must(filepath.Glob(cgroupRoot + "/*/release_agent"))(t); len(parts) > 0 {
		hierarchy = filepath.Dir(parts[0])
	}
	used := fmt.Sprintf("nt-%d-used", gone.Process.Pid)
	dirs := map[string]bool{ // the value is whether SweepCgroups keeps it
		fmt.Sprintf("nt-%d-one/child", gone.Process.Pid): false,
		fmt.Sprintf("nt-kube%d-one", gone.Process.Pid):   false,
		fmt.Sprintf("nt-deploy-%d", gone.Process.Pid):    false,
		fmt.Sprintf("nt-%d-one", os.Getpid()):            true,
		fmt.Sprintf("ntx-%d-one", gone.Process.Pid):      true,
		used: true,
	}
	for name := range dirs {
		dir := filepath.Join(hierarchy, name)
		assert.NoError(t, os.MkdirAll(dir, 0o755))
		t.Cleanup(func() { assert.NoError(t, RemoveCgroup(dir)) })
	}
	program := exec.CommandContext(within(t), "sleep", "1000")
	assert.NoError(t, program.Start())
	assert.NoError(t, os.WriteFile(filepath.Join(hierarchy, used, "cgroup.procs"), fmt.Append(nil, program.Process.Pid), 0))
	assert.NoError(t, SweepCgroups())
	for name, want := range dirs {
		dir := filepath.Join(hierarchy, name)
		_, err := os.Stat(dir)
		if (err == nil) != want {
			t.Errorf("%s after SweepCgroups: %v; want kept %v", dir, err, want)
		}
	}
	assert.NoError(t, program.Process.Kill())
	_ = program.Wait() // it was killed
}
