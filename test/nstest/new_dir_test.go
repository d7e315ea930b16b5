package nstest

import (
	"os"
	"testing"
)

// TestDirectoryOutlivesTheLab shows that the directories of a test are removed after its
// lab is closed: a program of the lab would write its files again otherwise.
func TestDirectoryOutlivesTheLab(t *testing.T) {
	var dir string
	t.Run("with a lab", func(t *testing.T) {
		o := &observer{TB: t}
		New(o)
		dir = t.TempDir()
		o.atClose = func() {
			if _, err := os.Lstat(dir); err != nil {
				t.Errorf("when the lab is closed: %v", err)
			}
		}
	})
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("%s after the test: %v", dir, err)
	}
}

// observer calls atClose right before the lab is closed.
type observer struct {
	testing.TB
	atClose func()
}

func (o *observer) Cleanup(f func()) { o.TB.Cleanup(func() { o.atClose(); f() }) }
