package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// watcher is an install --watch that runs.
type watcher struct {
	*nstest.Command
	i   *installation
	log string
}

func (i *installation) watch(more ...string) *watcher {
	i.t.Helper()
	x := &watcher{i: i, log: filepath.Join(i.t.TempDir(), "log")}
	x.Command = i.Node.Command(context.WithoutCancel(i.t.Context()), built("masq-cni"), i.args("install", append([]string{"--watch"}, more...)...)...)
	x.Stderr = assert.Must(os.Create(x.log))(i.t)
	assert.NoError(i.t, x.Start())
	i.t.Cleanup(func() {
		if i.t.Failed() {
			i.t.Logf("install said:\n%s", x.said())
		}
		_ = x.Process.Kill()
		_ = x.Wait()
	})
	return x
}

func (x *watcher) said() string {
	text, _ := os.ReadFile(x.log)
	return string(text)
}

// end stops it as the kubelet does.
func (x *watcher) end() {
	x.i.t.Helper()
	assert.NoError(x.i.t, x.Process.Signal(syscall.SIGTERM))
	if err := x.Wait(); err != nil {
		x.i.t.Errorf("install --watch ended with %v", err)
	}
}

// TestInstallWaits: install --watch changes nothing before masqd is ready, or if there is no
// network, and leaves everything in place when it is stopped.
func TestInstallWaits(t *testing.T) {
	i := newInstallation(t)
	x := i.watch("--ready-url", "http://"+daemonAt+"/readyz")
	until(t, "it waits for masqd", func() bool { return strings.Contains(x.said(), "waiting for masqd to be ready") })
	if !strings.Contains(x.said(), "connection refused") {
		t.Errorf("it says\n%s", x.said())
	}
	i.write(i.podsText(1400))
	if _, err := os.Stat(filepath.Join(i.bin, "masq")); err == nil || i.chained() {
		t.Error("it changed something before masqd was ready")
	}
	assert.NoError(t, os.Remove(filepath.Join(i.conf, podsFile)))
	i.daemon()
	until(t, "the plugin is installed", func() bool { _, err := os.Stat(filepath.Join(i.bin, "masq")); return err == nil })
	until(t, "it waits for a network", func() bool { return strings.Contains(x.said(), "there is no network configuration") })
	i.write(i.podsText(1400))
	until(t, "masq is in the network", i.chained)
	x.end()
	if !i.chained() {
		t.Error("it removed masq when it ended")
	}
	if _, err := os.Stat(filepath.Join(i.bin, "masq")); err != nil {
		t.Error(err)
	}
	p := i.attach("a", i.list())
	i.isSeen(p, false)
}

// TestInstallRestores: another program writes its network again, or removes the plugin.
// install --watch restores masq in the network, and the plugin.
func TestInstallRestores(t *testing.T) {
	for what, do := range map[string]func(i *installation, text string){
		"written in place": (*installation).write,
		"renamed into place": func(i *installation, text string) {
			tmp := filepath.Join(i.conf, "tmp")
			assert.NoError(i.t, os.WriteFile(tmp, []byte(text), 0o600))
			assert.NoError(i.t, os.Rename(tmp, filepath.Join(i.conf, podsFile)))
		},
		"removed, and there again": func(i *installation, text string) {
			assert.NoError(i.t, os.Remove(filepath.Join(i.conf, podsFile)))
			i.write(text)
		},
		"written, and the plugin removed": func(i *installation, text string) {
			i.write(text)
			assert.NoError(i.t, os.Remove(filepath.Join(i.bin, "masq")))
		},
		"the directory made again": func(i *installation, text string) {
			assert.NoError(i.t, os.Rename(i.conf, filepath.Join(i.t.TempDir(), "old")))
			assert.NoError(i.t, os.Mkdir(i.conf, 0o755))
			i.write(text)
		},
	} {
		t.Run(what, func(t *testing.T) {
			i := newInstallation(t)
			i.write(i.podsText(1400))
			x := i.watch("--ready-url", "")
			until(t, "masq is in the network", i.chained)
			begun := time.Now()
			do(i, i.podsText(1401))
			until(t, "masq is restored", func() bool {
				_, err := os.Stat(filepath.Join(i.bin, "masq"))
				return i.chained() && err == nil
			})
			t.Logf("back after %s", time.Since(begun))
			if !strings.Contains(i.read(), `"mtu": 1401`) {
				t.Errorf("the file differs from what was written last:\n%s", i.read())
			}
			x.end()
			// The control: install --watch does not run.
			do(i, i.podsText(1402))
			for ctx := briefly(t); ctx.Err() == nil; {
				if i.chained() {
					t.Fatal("masq was restored without install --watch")
				}
			}
		})
	}
}

// TestInstallIsRateLimited: another program writes its network repeatedly, and later after
// every change of the file. install --watch must not answer each time.
func TestInstallIsRateLimited(t *testing.T) {
	const long = 3 * time.Second
	for name, rewrite := range map[string]func(i *installation, n int){
		"in a loop": func(i *installation, n int) { i.write(i.podsText(1000 + n)) },
		"as an answer": func(i *installation, n int) {
			if i.chained() {
				i.write(i.podsText(1000 + n))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := newInstallation(t)
			i.write(i.podsText(1000))
			x := i.watch("--ready-url", "")
			until(t, "masq is in the network", i.chained)
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			n := 0
			for end := time.After(long); ; n++ {
				rewrite(i, n)
				select {
				case <-end:
				case <-tick.C:
					continue
				}
				break
			}
			last := i.podsText(1000 + n)
			i.write(last)
			until(t, "masq is in the network at the end", i.chained)
			// The file has what the other program wrote last, and masq.
			x.end()
			if i.uninstall(); i.read() != last {
				t.Errorf("the file differs from what was written last:\n%s", i.read())
			}
			puts := strings.Count(x.said(), `msg="masq inserted"`)
			t.Logf("the other program wrote it %d times, install restored it %d times in %s", n, puts, long)
			if puts < 3 || puts > 10 {
				t.Errorf("masq was restored %d times in %s", puts, long)
			}
		})
	}
}
